import { createHash } from "node:crypto";
import { isSha256 } from "./layout.ts";
import { isKnown } from "./protocol.ts";

/** The protocol of indexes that this code knows (protocol.ts). */
export const COPY_VERSION = 2;
/** That of an index without shared pages, which is what it was before there were any. */
export const PLAIN_COPY_VERSION = 1;
/** Name of the index in a copy's directory. Its presence, after a rename, says that the copy is complete. */
export const COPY_INDEX = "copy.json";
/** Left in a copy's directory by whoever found it damaged: it is not used, and made anew. */
export const CORRUPT_MARK = "corrupt";

/** Entries of an archive that a copy keeps. */
export const CHECKPOINT_DIRECTORY = "checkpoint";
export const ROOTFS_DIFF = "rootfs-diff.tar";
export const DELETED_FILES = "deleted.files";
export const SPEC_DUMP = "spec.dump";
export const CONFIG_DUMP = "config.dump";
/** containerd's only. */
export const STATUS_DUMP = "status.dump";
/** CRI-O's only. */
export const BIND_MOUNTS = "bind.mounts";
/** What the handler adds to a checkpoint of a container of its class, in the directory of CRIU's images. */
export const HANDLER_NOTE = "checkpoint/kcr.json";
export const VOLUMES = "checkpoint/kcr-volumes.tar";
/** Of a checkpoint that was made with options of CRIU's for its pod: criu-options.ts. */
export const CRIU_CONFIG = "checkpoint/kcr-criu.conf";

export interface CopyFile {
  /** Relative, with `/`; no `.` or `..` in it. */
  path: string;
  size: number;
  sha256: string;
}

/** What a copy holds, and what a restore has to know of it beforehand. */
export interface CopyIndex {
  version: number;
  /** sha256 of the archive. */
  archive: string;
  engine: "containerd" | "cri-o";
  /** All files of the copy but the index itself. */
  files: CopyFile[];
  /** Paths, as the process saw them, of regular files that were open for writing. */
  openForWriting: string[];
  /** Mount points of the dump that must exist again: destinations of its bind mounts. */
  mounts: string[];
  /** Absent in a copy that shares none. */
  shared?: SharedPages[] | undefined;
}

/**
 * The archive without the contents of the copy's other files, byte for byte: headers, padding, and the entries that no
 * restore needs. With them it is the archive again. Copies of earlier versions have none.
 */
export const ARCHIVE_REST = "archive.rest";

/** Page data is not hashed on the way to a restore: it is verified when it is unpacked and by the scrub. */
export const isPageData = (path: string): boolean => /^checkpoint\/(parent\/)*pages-[^/]*\.img$/.test(path);

/*
 * A copy may hold a process's memory as what differs from a copy before it. CRIU has a form for that: pages that a
 * pagemap marks as the parent's are looked for in the checkpoint in the directory `parent`, and so on. Here that is a
 * directory with hard links to the earlier copy's files, so a copy still is whole by itself, whichever others go.
 */

/** Name of the directory in which CRIU looks for the checkpoint that one builds upon (CR_PARENT_LINK). */
export const PARENT_DIRECTORY = "parent";
/** Where the pagemaps lie as they were in the archive, of pages that are shared. */
export const WHOLE_DIRECTORY = "whole";
/** Most parents of a copy, one of the other. */
export const MOST_PARENTS = 8;
const CHAIN_FILE = new RegExp(`^checkpoint/(parent/){1,${MOST_PARENTS}}(pagemap|pages)-[0-9]{1,10}\\.img$`);
const WHOLE_FILE = /^whole\/pagemap-[0-9]{1,10}\.img$/;

/** Whether a copy may have a file there that is not in its archive under that name. */
export const isOfSharedPages = (path: string): boolean => CHAIN_FILE.test(path) || WHOLE_FILE.test(path);

/** Pages of a process that a copy shares with earlier ones. */
export interface SharedPages {
  /** What CRIU calls the pagemap: a process's ID. */
  id: number;
  /** The pages file as the archive has it; the copy has it nowhere. */
  pages: CopyFile;
  /** The pagemap as the archive has it; the copy has it in {@link WHOLE_DIRECTORY}. */
  pagemap: CopyFile;
}

/** Path of a level's file of a chain: 0 is the copy's own. */
export const levelPath = (level: number, file: string): string =>
  [CHECKPOINT_DIRECTORY, ...Array.from({ length: level }, () => PARENT_DIRECTORY), file].join("/");

/** What the handler writes into a checkpoint that it sees being taken. */
export interface HandlerNote {
  version: number;
  node: string;
  /** Of the root file system's overlay: the image's layers as this node has them. */
  lowerDirectories: string[];
  /** Volumes whose files are in the checkpoint (volumes tar: `<name>/...`). */
  captured: { name: string; destination: string }[];
  /** Volumes that can be written to and were left out, and why. */
  left: { destination: string; why: string }[];
}

/** The index in that text; undefined for what is none. */
export function parseCopyIndex(text: string): CopyIndex | undefined {
  let value: Partial<CopyIndex> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !isKnown(value, COPY_VERSION)) return undefined;
  const { archive, engine, files, openForWriting, mounts, shared = [] } = value;
  const isTexts = (list: unknown): boolean =>
    Array.isArray(list) && list.every((text) => typeof text === "string");
  const isWhole =
    isSha256(archive) &&
    (engine === "containerd" || engine === "cri-o") &&
    Array.isArray(files) &&
    files.every(isCopyFile) &&
    Array.isArray(shared) &&
    shared.every(
      (one) =>
        typeof one === "object" &&
        one !== null &&
        Number.isSafeInteger(one.id) &&
        isCopyFile(one.pages) &&
        isCopyFile(one.pagemap),
    ) &&
    isTexts(openForWriting) &&
    isTexts(mounts);
  return isWhole ? (value as CopyIndex) : undefined;
}

const isCopyFile = (file: CopyFile | null | undefined): boolean =>
  typeof file === "object" &&
  file !== null &&
  isRelative(file.path) &&
  Number.isSafeInteger(file.size) &&
  file.size >= 0 &&
  isSha256(file.sha256);

/**
 * One digest, `sha256:<hex>`, of everything that a copy holds, whatever the order in its index: of the archive's
 * digest and each file's path, size and sha256. Who knows it from elsewhere can take the files from anyone.
 */
export function contentDigest({
  archive,
  files,
  shared = [],
}: Pick<CopyIndex, "archive" | "files" | "shared">): string {
  const hash = createHash("sha256").update(`${archive}\n`);
  const line = (...values: unknown[]): string => `${JSON.stringify(values)}\n`;
  const lines = [
    ...files.map(({ path, size, sha256 }) => line(path, size, sha256)),
    ...shared.flatMap(({ id, pages, pagemap }) =>
      [pages, pagemap].map(({ path, size, sha256 }) => line("shared", id, path, size, sha256)),
    ),
  ];
  for (const text of lines.sort()) hash.update(text);
  return `sha256:${hash.digest("hex")}`;
}

/** Whether a path stays below where it is joined to. */
export const isRelative = (path: unknown): path is string =>
  typeof path === "string" &&
  path.length > 0 &&
  !path.startsWith("/") &&
  !path.includes("\0") &&
  path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
