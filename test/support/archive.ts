import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { type Header, type Pack, pack } from "tar-stream";

/** Content that is made while it is written, for what does not fit into memory: `size` bytes in all. */
export interface MadeContent {
  size: number;
  chunks(): Iterable<Uint8Array>;
}

export type EntrySpec = Partial<Header> & { name: string; content?: string | Uint8Array | MadeContent };

const CHUNK_BYTES = 2 ** 20;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

const made = (size: number, chunk: (length: number) => Uint8Array): MadeContent => ({
  size,
  *chunks() {
    for (let left = size; left > 0; left -= CHUNK_BYTES) yield chunk(Math.min(left, CHUNK_BYTES));
  },
});

/** Bytes that cannot be compressed. */
export const randomContent = (size: number): MadeContent => made(size, randomBytes);

/** Zeros, which take no disk in a file that `writeCheckpoint` writes. */
export const hole = (size: number): MadeContent => made(size, (length) => ZEROS.subarray(0, length));

/** A tar of small entries. */
export async function makeTar(entries: readonly EntrySpec[]): Promise<Buffer> {
  return await buffer(packed(entries));
}

/** A tar as a stream; what goes wrong with an entry ends it with that error. */
function packed(entries: readonly EntrySpec[]): Pack {
  const tar = pack();
  add().catch((error: Error) => tar.destroy(error));
  return tar;

  async function add(): Promise<void> {
    for (const { content = "", ...given } of entries) {
      const header = { mtime: new Date(0), ...given };
      if ((header.type ?? "file") !== "file") tar.entry(header);
      else if (typeof content === "string" || content instanceof Uint8Array) {
        tar.entry(header, Buffer.from(content as string));
      } else await pipeline(content.chunks(), tar.entry({ ...header, size: content.size }));
    }
    tar.finalize();
  }
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

type Value = number | bigint | string | Uint8Array;

/** A protobuf message of numbers, texts and messages, by field; an array is a field that is repeated. */
export function message(fields: Readonly<Record<number, Value | readonly Value[] | undefined>>): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, given] of Object.entries(fields)) {
    for (const value of Array.isArray(given)
      ? (given as Value[])
      : given === undefined
        ? []
        : [given as Value]) {
      if (typeof value === "number" || typeof value === "bigint") writer.tag(Number(field), 0).uint64(value);
      else if (typeof value === "string") writer.tag(Number(field), 2).string(value);
      else writer.tag(Number(field), 2).bytes(value);
    }
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
  /** Content of checkpoint/pages-1.img: a page unless said. */
  pages?: Uint8Array | MadeContent;
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
    pages = Buffer.alloc(4096, 1),
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
    { name: "checkpoint/files.img", content: criuImage([0x54564319, 0x56303138], [workingDirectory]) },
    { name: "checkpoint/pages-1.img", content: pages },
    { name: "dump.log", content: log },
    ...(engine === "containerd"
      ? [{ name: "status.dump", content: json({ id: containerId, state: 1 }) }]
      : []),
  ];
  const replaced = new Set([...without, ...more.map(({ name }) => name)]);
  return [...entries.filter(({ name }) => !replaced.has(name)), ...more];
}

/** Writes such an archive to a file, with holes for what is zero, whatever its size; returns its path. */
export async function writeCheckpoint(
  path: string,
  spec?: CheckpointSpec,
  { signal }: { signal?: AbortSignal } = {},
): Promise<string> {
  await rm(path, { force: true });
  await using file = await open(path, "ax");
  let size = 0;
  for await (const chunk of packed(checkpointEntries(spec)) as AsyncIterable<Buffer>) {
    signal?.throwIfAborted();
    size += chunk.length;
    if (ZEROS.subarray(0, chunk.length).equals(chunk)) await file.truncate(size);
    else await file.appendFile(chunk);
  }
  return path;
}

/** In files.img: `/data`, a regular file's entry (type 1) with a directory's mode. */
const workingDirectory = message({
  1: 1,
  2: 1,
  3: message({ 1: 1, 2: 0, 3: 0, 6: Buffer.from("/data"), 10: 0o40755 }),
});

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
