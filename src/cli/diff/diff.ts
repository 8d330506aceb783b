import { createHash } from "node:crypto";
import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { endpointText } from "../inspect/files.ts";
import { type Part, type ProcessReport, type Report, reportOf } from "../inspect/report.ts";
import { masked } from "../inspect/secrets.ts";
import { compareItems, type Difference, type Item } from "./compare.ts";
import { type ProcessDiff, processMemoryDiffs } from "./memory.ts";

/** What is compared, in the order in which it is shown. */
export const TOPICS = ["processes", "files", "sockets", "mounts", "environment", "rootfs", "memory"] as const;
export type Topic = (typeof TOPICS)[number];

export interface DiffOptions {
  topics: ReadonlySet<Topic>;
  /** Whether values of the environment that look like secrets are shown. */
  showSecrets: boolean;
  signal: AbortSignal;
  /** Called with how many bytes of memory have been compared. */
  onProgress?: (bytes: number) => void;
}

/** What `-o json` shows. All strings are of strangers. */
export interface CheckpointDiff {
  a: About;
  b: About;
  /** Whether there are any. */
  differ: boolean;
  /** By topic, those that were compared. */
  differences: Partial<Record<Exclude<Topic, "memory">, readonly Difference[]>>;
  memory?: readonly ProcessDiff[];
}

export interface About {
  archive: string;
  container: string;
  containerId: string;
  pod?: string;
  image: string;
  checkpointed?: string;
}

const PART: Readonly<Record<Exclude<Topic, "rootfs" | "memory">, readonly Part[]>> = {
  processes: ["ps", "args"],
  files: ["files"],
  sockets: ["sockets"],
  mounts: ["mounts"],
  environment: ["env"],
};

/**
 * Compares two checkpoints, of one container or of two. Errors: `ArchiveError`; the signal's reason.
 */
export async function diffCheckpoints(
  a: CheckpointArchive,
  b: CheckpointArchive,
  options: DiffOptions,
): Promise<CheckpointDiff> {
  const { topics, signal, onProgress } = options;
  const parts = new Set([...topics].flatMap((topic) => PART[topic as keyof typeof PART] ?? []));
  const reports = [
    await reportOf(a, { parts, showSecrets: true }),
    await reportOf(b, { parts, showSecrets: true }),
  ] as const;
  const differences: CheckpointDiff["differences"] = {};
  for (const [topic, items] of Object.entries(itemsOf) as [keyof typeof itemsOf, typeof itemsOf.files][]) {
    if (!topics.has(topic)) continue;
    differences[topic] = compareItems(items(reports[0]), items(reports[1]));
  }
  if (differences.environment && !options.showSecrets) {
    differences.environment = differences.environment.map(withoutSecrets);
  }
  if (topics.has("rootfs")) {
    differences.rootfs = compareItems(await rootfsItems(a, signal), await rootfsItems(b, signal));
  }
  const memory = topics.has("memory") ? await processMemoryDiffs(a, b, { signal, onProgress }) : undefined;
  const differ =
    Object.values(differences).some((list) => list.length > 0) || (memory !== undefined && memory.length > 0);
  return { a: about(reports[0]), b: about(reports[1]), differ, differences, memory };
}

const about = ({ archive, container, image, checkpointed }: Report): About => ({
  archive,
  container: container.name,
  containerId: container.id,
  pod: container.pod && `${container.namespace}/${container.pod}`,
  image: image.reference,
  checkpointed,
});

const each = (
  { processes = [] }: Report,
  items: (process: ProcessReport) => readonly Item[] | undefined,
): Item[] => processes.flatMap((process) => items(process) ?? []);

const itemsOf = {
  processes: (report: Report): Item[] =>
    each(report, ({ pid, name, ppid, state, threads, uid, gid, executable, arguments: args }) => [
      {
        key: [pid],
        label: `${pid} ${name}`,
        fields: {
          name,
          parent: ppid,
          state,
          threads,
          user: uid === undefined ? undefined : `${uid}:${gid}`,
          executable,
          arguments: args?.join(" "),
        },
      },
    ]),
  files: (report: Report): Item[] =>
    each(report, ({ pid, files }) =>
      files?.map(({ fd, kind, name, access, position, size, deleted }) => ({
        key: [pid, fd],
        label: `${pid}/${fd} ${name}`,
        fields: { kind, name, access, position, size, deleted },
      })),
    ),
  sockets: (report: Report): Item[] =>
    each(report, ({ pid, sockets }) =>
      sockets?.map(({ fd, kind, family, type, protocol, state, local, remote, name, peer }) => ({
        key: [pid, fd],
        label: `${pid}/${fd} ${protocol ?? kind}`,
        fields: {
          ...{ kind, family, type, protocol, state, name, peer },
          local: local && endpointText(local),
          remote: remote && endpointText(remote),
        },
      })),
    ),
  mounts: ({ mounts = [] }: Report): Item[] =>
    mounts.map(({ destination, type, source, options }, index) => ({
      // What is mounted over something else has its place.
      key: [destination, mounts.slice(0, index).filter((other) => other.destination === destination).length],
      label: destination,
      fields: { type, source, options: options.join(",") },
    })),
  environment: (report: Report): Item[] =>
    each(report, ({ pid, environment }) =>
      environment?.map(({ name, value }) => ({
        key: [pid, name],
        label: `${pid} ${name}`,
        fields: { value },
      })),
    ),
} satisfies Partial<Record<Topic, (report: Report) => Item[]>>;

/** That a secret has changed is told, but not what it was or is. */
function withoutSecrets(difference: Difference): Difference {
  const name = difference.what.slice(difference.what.indexOf(" ") + 1);
  const hidden = (fields: Difference["before"]) =>
    fields && { value: masked({ name, value: String(fields["value"] ?? "") }).value };
  const { before, after } = difference;
  return { ...difference, ...(before && { before: hidden(before) }), ...(after && { after: hidden(after) }) };
}

async function rootfsItems(archive: CheckpointArchive, signal: AbortSignal): Promise<Item[]> {
  const { rootfsChanges } = await import("../../archive/rootfs.ts");
  const items: Item[] = [];
  for await (const change of rootfsChanges(archive, { signal })) {
    const { type, path } = change;
    if (type !== "written") {
      items.push({ key: [path], fields: { change: type } });
      continue;
    }
    const { kind, mode, uid, gid, size, target } = change;
    const hash = createHash("sha256");
    if (kind === "file") for await (const chunk of change.content()) hash.update(chunk);
    items.push({
      key: [path],
      fields: {
        change: type,
        kind,
        mode: mode.toString(8),
        owner: `${uid}:${gid}`,
        ...(kind === "file" && { size, content: `sha256:${hash.digest("hex")}` }),
        ...(target !== "" && { target }),
      },
    });
  }
  return items;
}
