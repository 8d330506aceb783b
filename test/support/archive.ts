import { writeFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type Header, pack } from "tar-stream";

export type EntrySpec = Partial<Header> & { name: string; content?: string | Uint8Array };

/** A tar of small entries. */
export async function makeTar(entries: readonly EntrySpec[]): Promise<Buffer> {
  const tar = pack();
  for (const { content = "", ...header } of entries) {
    const bytes = Buffer.from(content as string);
    if ((header.type ?? "file") === "file") tar.entry({ mtime: new Date(0), ...header }, bytes);
    else tar.entry({ mtime: new Date(0), ...header });
  }
  tar.finalize();
  return await buffer(tar);
}

/** An image file of CRIU: its magic numbers, then each message with its length before it. */
export function criuImage(magic: readonly number[], messages: readonly Uint8Array[] = []): Buffer {
  const word = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  return Buffer.concat([
    ...magic.map(word),
    ...messages.flatMap((message) => [word(message.length), message]),
  ]);
}

/** A protobuf message of numbers and messages, by field. */
export function message(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, value] of Object.entries(fields)) {
    if (typeof value === "number") writer.tag(Number(field), 0).uint64(value);
    else writer.tag(Number(field), 2).bytes(value);
  }
  return writer.finish();
}

export interface CheckpointSpec {
  engine?: "containerd" | "cri-o" | "podman";
  podName?: string;
  podNamespace?: string;
  podUid?: string;
  containerName?: string;
  containerId?: string;
  /** NAME@DIGEST. */
  imageRef?: string;
  /** Microseconds. */
  frozenUs?: number;
  log?: string;
  /** Entries to be left out, by name. */
  without?: readonly string[];
  /** More entries; one that has the name of another takes its place. */
  more?: readonly EntrySpec[];
}

/**
 * The entries of an archive such as the engines write, with CRIU's images cut down to their beginnings: enough for
 * everything that only looks at an archive, nothing that could be restored.
 */
export function checkpointEntries(spec: CheckpointSpec = {}): EntrySpec[] {
  const {
    engine = "containerd",
    podName = "redis-0",
    podNamespace = "default",
    podUid = "5e3ad4c4-7b8a-4a7e-8d3a-94d3f1c0a001",
    containerName = "redis",
    containerId = "c".repeat(64),
    imageRef = `registry.example/redis@sha256:${"1".repeat(64)}`,
    frozenUs = 120_000,
    log = "(00.000001) Version: 4.1\n(00.200000) Dumping finished successfully\n",
    without = [],
    more = [],
  } = spec;
  const identity = { podName, podNamespace, podUid, containerName };
  const json = JSON.stringify;
  const entries: EntrySpec[] = [
    {
      name: "config.dump",
      content: json({
        id: containerId,
        name: containerName,
        rootfsImage: "registry.example/redis:7",
        rootfsImageRef: imageRef,
        rootfsImageName: "registry.example/redis:7",
        runtime: "io.containerd.runc.v2",
        createdTime: "2026-01-01T00:00:00Z",
        checkpointedTime: "2026-01-01T01:00:00Z",
        restoredTime: "0001-01-01T00:00:00Z",
        restored: false,
      }),
    },
    {
      name: "spec.dump",
      content: json({
        ociVersion: "1.2.1",
        process: {
          user: { uid: 999, gid: 998 },
          args: ["redis-server"],
          env: ["PATH=/usr/bin"],
          cwd: "/data",
        },
        mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
        annotations: annotationsOf(engine, identity),
      }),
    },
    { name: "stats-dump", content: statsDump(frozenUs) },
    { name: "checkpoint", type: "directory" },
    { name: "checkpoint/inventory.img", content: criuImage([0x58313116], [message({ 1: 2 })]) },
    {
      name: "checkpoint/pstree.img",
      content: criuImage([0x54564319, 0x50273030], [message({ 1: 1, 2: 0 })]),
    },
    { name: "checkpoint/core-1.img", content: criuImage([0x54564319, 0x55053847], [message({ 1: 1 })]) },
    { name: "checkpoint/pages-1.img", content: Buffer.alloc(4096, 1) },
    { name: "dump.log", content: log },
    ...(engine === "containerd"
      ? [{ name: "status.dump", content: json({ id: containerId, state: 1 }) }]
      : []),
  ];
  const replaced = new Set([...without, ...more.map(({ name }) => name)]);
  return [...entries.filter(({ name }) => !replaced.has(name)), ...more];
}

/** Writes such an archive to a file; returns its path. */
export async function writeCheckpoint(path: string, spec?: CheckpointSpec): Promise<string> {
  await writeFile(path, await makeTar(checkpointEntries(spec)));
  return path;
}

function statsDump(frozenUs: number): Buffer {
  const dump = message({ 1: 1500, 2: frozenUs, 3: 60_000, 4: 50_000, 5: 2000, 6: 0, 7: 1900, 9: 0 });
  return criuImage([0x55105940, 0x57093306], [message({ 1: dump })]);
}

function annotationsOf(
  engine: CheckpointSpec["engine"],
  { podName, podNamespace, podUid, containerName }: Record<string, string>,
): Record<string, string | undefined> {
  switch (engine) {
    case "cri-o":
      return {
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.Labels": JSON.stringify({
          "io.kubernetes.container.name": containerName,
          "io.kubernetes.pod.name": podName,
          "io.kubernetes.pod.namespace": podNamespace,
          "io.kubernetes.pod.uid": podUid,
        }),
      };
    case "podman":
      return { "io.container.manager": "libpod" };
    default:
      return {
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": containerName,
        "io.kubernetes.cri.sandbox-name": podName,
        "io.kubernetes.cri.sandbox-namespace": podNamespace,
        "io.kubernetes.cri.sandbox-uid": podUid,
      };
  }
}
