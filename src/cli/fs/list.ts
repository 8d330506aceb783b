import { type RootfsChange, type RootfsSource, rootfsChanges } from "../../archive/rootfs.ts";
import type { TarEntryType } from "../../archive/tar.ts";
import type { View } from "../output/print.ts";
import { size } from "../output/sizes.ts";

/** What `-o json` shows of a change. */
export interface ListedChange {
  change: RootfsChange["type"];
  path: string;
  type?: TarEntryType;
  /** Octal: "0644". */
  mode?: string;
  uid?: number;
  gid?: number;
  /** In bytes. */
  size?: number;
  modified?: string;
  target?: string;
}

/** What a container has changed in its root file system since its image. Errors: as `rootfsChanges`. */
export async function listChanges(source: RootfsSource, signal: AbortSignal): Promise<View<ListedChange>> {
  const rows: ListedChange[] = [];
  for await (const change of rootfsChanges(source, { signal })) rows.push(listed(change));
  return {
    columns: [
      { header: "CHANGE", value: ({ change }) => change },
      { header: "MODE", value: modeOf },
      { header: "OWNER", value: ({ uid, gid }) => (uid === undefined ? "" : `${uid}:${gid}`), wide: true },
      {
        header: "SIZE",
        value: ({ size: bytes }) => (bytes === undefined ? "" : size(bytes)),
        align: "right",
      },
      { header: "MODIFIED", value: ({ modified }) => modified },
      { header: "PATH", value: ({ path, target }) => (target ? `${path} -> ${target}` : path) },
    ],
    rows,
    data: { changes: rows },
    name: ({ path }) => path,
    none: "nothing was changed in the root file system since the image",
  };
}

function listed(change: RootfsChange): ListedChange {
  const { type, path } = change;
  if (type !== "written") return { change: type, path };
  const { kind, mode, uid, gid, target } = change;
  return {
    change: type,
    path,
    type: kind,
    mode: mode.toString(8).padStart(4, "0"),
    uid,
    gid,
    ...(kind === "file" && { size: change.size }),
    modified: timeOf(change.mtime),
    ...(target !== "" && { target }),
  };
}

const LETTERS: Readonly<Record<TarEntryType, string>> = {
  file: "-",
  hardlink: "-",
  directory: "d",
  symlink: "l",
  other: "?",
};

/** As ls(1) shows it: `-rw-r--r--`, `drwxrwxrwt`. */
function modeOf({ type, mode }: ListedChange): string | undefined {
  if (type === undefined || mode === undefined) return undefined;
  const bits = Number.parseInt(mode, 8);
  const three = (shift: number, special: number, letter: string) => {
    const has = (bit: number) => ((bits >> shift) & bit) !== 0;
    const isSpecial = (bits & special) !== 0;
    const last = isSpecial ? (has(1) ? letter : letter.toUpperCase()) : has(1) ? "x" : "-";
    return `${has(4) ? "r" : "-"}${has(2) ? "w" : "-"}${last}`;
  };
  return LETTERS[type] + three(6, 0o4000, "s") + three(3, 0o2000, "s") + three(0, 0o1000, "t");
}

/** Undefined for one that no calendar has. */
function timeOf(seconds: number): string | undefined {
  const time = new Date(seconds * 1000);
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString().replace(".000Z", "Z");
}
