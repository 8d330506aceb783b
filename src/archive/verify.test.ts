import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { criuImage, type EntrySpec, makeTar, writeCheckpoint } from "../../test/support/archive.ts";
import { image, PAGE, pagemapImage, VMA } from "../../test/support/criu.ts";
import { type ProcessSpec, processImages, regularFile } from "../../test/support/processes.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { type Verification, type VerifyOptions, verifyArchive } from "./verify.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-verify-"));
});
afterAll(() => rm(directory, { recursive: true }));

const PROCESS = {
  pid: 1,
  threads: [2],
  memory: {
    vmas: [
      { start: 0x1000n, pages: 1, prot: 5, flags: 2, status: 1n | VMA.filePrivate, sourceId: 7n },
      { start: 0x10000n, pages: 2 },
      { start: 0x12000n, pages: 2, prot: 1 },
    ],
    // One run over two mappings that adjoin.
    runs: [{ address: 0x11000n, pages: 2 }],
    pages: Buffer.alloc(2 * PAGE, 1),
  },
  descriptors: [{ fd: 0, type: 1, fileId: 7 }],
} satisfies ProcessSpec;

interface Spec {
  process?: Partial<ProcessSpec>;
  more?: readonly EntrySpec[];
  without?: string;
  log?: string;
}

let count = 0;
async function verified({ process, more = [], without, log }: Spec = {}, options?: VerifyOptions) {
  const images = processImages([{ ...PROCESS, ...process }], [regularFile(7, "/bin/sh")]);
  const layer = { name: "rootfs-diff.tar", content: gzipSync(await makeTar([{ name: "a" }, { name: "b" }])) };
  const all = new Map([...images, layer, ...more].map((entry) => [entry.name, entry]));
  if (without) all.delete(without);
  count += 1;
  const path = join(directory, `${count}.tar`);
  await writeCheckpoint(path, {
    more: [...all.values()],
    ...(log && { log }),
    without: without ? [without] : [],
  });
  await using archive = await openCheckpoint(path);
  return await verifyArchive(archive, options);
}

const damage = ({ damage }: Verification) => damage.map((what) => what.replace(/^\S+\.tar: /, ""));

test("an archive in order: what was looked at, and its digest", async () => {
  const read: number[] = [];
  const all = await verified({}, { onProgress: (bytes) => read.push(bytes) });
  const bytes = await readFile(join(directory, `${count}.tar`));
  const digest = `sha256:${(await import("node:crypto")).createHash("sha256").update(bytes).digest("hex")}`;
  expect(all).toEqual({ digest, images: 10, processes: 1, memoryBytes: 2 * PAGE, changes: 2, damage: [] });
  expect(read.at(-1)).toBe(bytes.length);
  const other = `sha256:${"0".repeat(64)}`;
  expect(damage(await verified({}, { digest: other }))).toEqual([`is ${digest}, not ${other}`]);
});

const cut = (entry: EntrySpec): EntrySpec => ({
  name: entry.name,
  content: (entry.content as Buffer).subarray(0, (entry.content as Buffer).length - 1),
});
const imageOf = (name: string) =>
  processImages([PROCESS], [regularFile(7, "/bin/sh")]).find((entry) => entry.name === `checkpoint/${name}`)!;

test.each<[what: string, spec: Spec, found: RegExp]>([
  ["an image that is cut off", { more: [cut(imageOf("fs-1.img"))] }, /fs-1.img: ends within the record/],
  [
    "an image of another kind",
    { more: [{ name: "checkpoint/cgroup.img", content: criuImage([0x54564319, 0x55053847]) }] },
    /cgroup.img: not an image/,
  ],
  [
    "an image with data between, of another kind",
    { more: [{ name: "checkpoint/pipes-data.img", content: Buffer.alloc(20) }] },
    /pipes-data.img: not an image/,
  ],
  ["no process tree", { without: "checkpoint/pstree.img" }, /has no checkpoint\/pstree.img/],
  ["a thread that is not there", { without: "checkpoint/core-2.img" }, /thread 2 of process 1/],
  ["no descriptors", { without: "checkpoint/fdinfo-1.img" }, /has no checkpoint\/fdinfo-1.img/],
  [
    "a descriptor of nothing",
    { process: { descriptors: [{ fd: 5, type: 1, fileId: 99 }] } },
    /descriptor 5 of process 1 is of no file/,
  ],
  [
    "a mapping of nothing",
    {
      process: {
        memory: {
          ...PROCESS.memory,
          vmas: PROCESS.memory.vmas.map((vma) => ({ ...vma, ...(vma.sourceId && { sourceId: 98n }) })),
        },
      },
    },
    /mapping of process 1 at 0x1000 is of no file/,
  ],
  ["no memory", { without: "checkpoint/mm-1.img" }, /has no checkpoint\/mm-1.img/],
  [
    "pages where nothing is mapped",
    { process: { memory: { ...PROCESS.memory, runs: [{ address: 0x13000n, pages: 2 }] } } },
    /pages at 0x14000, where nothing is mapped/,
  ],
  [
    "pages between mappings",
    { process: { memory: { ...PROCESS.memory, runs: [{ address: 0x5000n, pages: 2 }] } } },
    /pages at 0x5000, where nothing is mapped/,
  ],
  [
    "pages that are not all there",
    { more: [{ name: "checkpoint/pages-1.img", content: Buffer.alloc(2 * PAGE - 1) }] },
    /pages-1.img has 8191 bytes, not the 8192/,
  ],
  [
    "more pages than there should be",
    { more: [{ name: "checkpoint/pages-1.img", content: Buffer.alloc(2 * PAGE + 1) }] },
    /pages-1.img has 8193 bytes, not the 8192/,
  ],
  ["no pages", { without: "checkpoint/pages-1.img" }, /has no checkpoint\/pages-1.img/],
  [
    "a page map that is no file",
    { more: [{ name: "checkpoint/pagemap-shmem-5.img", type: "directory" }] },
    /pagemap-shmem-5.img is no file/,
  ],
  [
    "shared memory that is not all there",
    { more: [pagemapImage("pagemap-shmem-5.img", 5, [{ address: 0n, pages: 1 }])] },
    /pages-5.img has 0 bytes, not the 4096/,
  ],
  [
    "a root file system that ends early",
    { more: [{ name: "rootfs-diff.tar", content: gzipSync(Buffer.alloc(9000)).subarray(0, 20) }] },
    /rootfs-diff.tar: damaged gzip/,
  ],
  ["a dump that failed", { log: "(00.1) Error (x.c:1): no\n(00.1) Dumping FAILED.\n" }, /the dump failed/],
])("%s is damage", async (_what, spec, found) => {
  const [first = "", ...more] = damage(await verified(spec));
  expect(first).toMatch(found);
  // What follows from it may be said too, but not the same twice.
  expect(new Set([first, ...more]).size).toBe(1 + more.length);
});

test("a process that has ended needs nothing but its name", async () => {
  const ended = processImages([PROCESS, { pid: 5, ppid: 1, state: 6 }], [regularFile(7, "/bin/sh")]);
  expect((await verified({ more: ended })).damage).toEqual([]);
  expect(image("core", "core-5.img", []).name).toBe("checkpoint/core-5.img");
});
