import { createHash, randomBytes } from "node:crypto";
import { link, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkpointEntries, type EntrySpec, makeTar } from "../../../test/support/archive.ts";
import { PAGE, pagemapImage, type RunSpec } from "../../../test/support/criu.ts";
import { FileBytes } from "../../archive/bytes.ts";
import { Pagemap } from "../../archive/criu/pagemap.ts";
import { restOf, segmentsOf } from "../../download/segments.ts";
import { type CopyIndex, MOST_PARENTS, parseCopyIndex } from "../../store/copy.ts";
import { Layout } from "../../store/layout.ts";
import { realDisk } from "./disk.ts";
import { originalPages } from "./original-pages.ts";
import { LocalStore } from "./store.ts";
import type { ArchiveStream } from "./unpack.ts";

const never = new AbortController().signal;
const ID = 7;
const PRESENT = 4;

let root: string;
let store: LocalStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-pages-"));
  store = new LocalStore(new Layout(root));
  await store.start();
});
afterEach(() => rm(root, { recursive: true }));

/** Memory: pages by their number. */
type Memory = ReadonlyMap<number, Buffer>;

const sorted = (memory: Memory): [number, Buffer][] => [...memory].sort(([a], [b]) => a - b);

function runsOf(memory: Memory): RunSpec[] {
  const runs: RunSpec[] = [];
  let next: number | undefined;
  for (const [page] of sorted(memory)) {
    if (page === next) runs.at(-1)!.pages += 1;
    else runs.push({ address: BigInt(page * PAGE), pages: 1, flags: PRESENT });
    next = page + 1;
  }
  return runs;
}

const imagesOf = (memory: Memory): EntrySpec[] => [
  pagemapImage(`pagemap-${ID}.img`, 3, runsOf(memory)),
  { name: "checkpoint/pages-3.img", content: Buffer.concat(sorted(memory).map(([, bytes]) => bytes)) },
];

const archiveOf = (memory: Memory, ...more: EntrySpec[]) => archiveWith([...imagesOf(memory), ...more]);

async function archiveWith(
  more: EntrySpec[],
): Promise<{ tar: Buffer; stream: ArchiveStream; digest: string }> {
  const tar = await makeTar(checkpointEntries({ more }));
  const digest = createHash("sha256").update(tar).digest("hex");
  const stream: ArchiveStream = {
    name: "a.tar",
    size: tar.length,
    digest,
    async *read() {
      for (let at = 0; at < tar.length; at += 70_000) yield tar.subarray(at, at + 70_000);
    },
  };
  return { tar, stream, digest };
}

/** What CRIU would restore of a directory of images: pages of the parent are looked for in `parent`. */
async function restored(directory: string, id: number | string = ID): Promise<Map<number, Buffer>> {
  await using image = await FileBytes.open(join(directory, `pagemap-${id}.img`));
  const map = await Pagemap.read(image, PAGE);
  const pages = await readFile(join(directory, `pages-${map.pagesId}.img`));
  expect(pages.length).toBe(map.presentBytes);
  const runs = [...map.runs()];
  const parent = runs.some(({ state }) => state === "parent")
    ? await restored(join(directory, "parent"), id)
    : undefined;
  const memory = new Map<number, Buffer>();
  for (const run of runs) {
    for (let at = 0; at < run.length; at += PAGE) {
      const page = Number(run.address) / PAGE + at / PAGE;
      const bytes =
        run.state === "present" ? pages.subarray(run.offset + at, run.offset + at + PAGE) : parent?.get(page);
      if (bytes === undefined) throw new Error(`page ${page} is nowhere`);
      memory.set(page, bytes);
    }
  }
  return memory;
}

/** The archive, as a download puts it together. */
async function archiveAgain(digest: string): Promise<Buffer> {
  const directory = store.layout.copy(digest);
  const index = parseCopyIndex(await readFile(join(directory, "copy.json"), "utf8"))!;
  const byContent = new Map(index.files.map((file) => [file.sha256, file]));
  const shared = new Map(index.shared?.map((one) => [one.pages.sha256, one]));
  const rest = restOf(index)!;
  const content = [await readFile(join(directory, rest.path))];
  const parts: Buffer[] = [];
  for (const { file, at, length } of await segmentsOf(index, rest, asStream(content), never)) {
    const found = byContent.get(file.sha256);
    const bytes = found
      ? (await readFile(join(directory, found.path))).subarray(at, at + length)
      : await collected(
          originalPages(directory, index, shared.get(file.sha256)!, { from: at, end: at + length }),
        );
    expect(bytes.length).toBe(length);
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}
async function* asStream(chunks: readonly Buffer[]) {
  yield* chunks;
}
async function collected(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(chunks));
}

const memoryOf = (pages: number, first = 16): Map<number, Buffer> =>
  new Map(Array.from({ length: pages }, (_, page) => [first + page, randomBytes(PAGE)]));
const changed = (memory: Memory, ...pages: number[]): Memory =>
  new Map([...memory].map(([page, bytes]) => [page, pages.includes(page) ? randomBytes(PAGE) : bytes]));
const sizeOf = ({ files }: CopyIndex, path: string) => files.find((file) => file.path === path)?.size;

describe("a copy that shares pages with one before", () => {
  test("has only those that changed, and is what it was without the one before", async () => {
    const first = memoryOf(300);
    const second = changed(first, 16, 100, 101, 315);
    const a = await archiveOf(first);
    const b = await archiveOf(second);
    await store.add(a.stream, never);
    const index = await store.add(b.stream, never, () => {}, a.digest);
    expect(index.version).toBe(2);
    expect(sizeOf(index, "checkpoint/pages-3.img")).toBe(4 * PAGE);
    expect(sizeOf(index, "checkpoint/parent/pages-3.img")).toBe(300 * PAGE);
    await store.remove(a.digest);
    expect(await store.verify(b.digest, never)).toEqual([]);
    expect(await restored(join(store.layout.copy(b.digest), "checkpoint"))).toEqual(second);
    expect((await archiveAgain(b.digest)).equals(b.tar)).toBe(true);
    await store.remove(b.digest);
    expect(await readdir(store.layout.blobs)).toEqual([]);
  });

  test("has a page itself that the one before does not hold, though it holds the same elsewhere", async () => {
    const first = memoryOf(10);
    const second = new Map(changed(first, 17)).set(1000, first.get(16)!);
    const a = await archiveOf(first);
    const b = await archiveOf(second);
    await store.add(a.stream, never);
    await store.add(b.stream, never, () => {}, a.digest);
    expect(await restored(join(store.layout.copy(b.digest), "checkpoint"))).toEqual(second);
  });

  test("is as any other where no page is the same, and where there is no map of its pages", async () => {
    const a = await archiveOf(memoryOf(20));
    const b = await archiveOf(memoryOf(20));
    await store.add(a.stream, never);
    const index = await store.add(b.stream, never, () => {}, a.digest);
    expect(index).toMatchObject({ version: 1 });
    expect(await readdir(join(store.layout.copy(b.digest), "checkpoint"))).not.toContain("parent");
    expect((await archiveAgain(b.digest)).equals(b.tar)).toBe(true);
  });

  test("is made whole where the one before turns out to be damaged", async () => {
    const first = memoryOf(40);
    const second = changed(first, 20);
    const a = await archiveOf(first);
    const b = await archiveOf(second);
    await store.add(a.stream, never);
    const pages = join(store.layout.copy(a.digest), "checkpoint/pages-3.img");
    await writeFile(pages, Buffer.concat([randomBytes(PAGE), (await readFile(pages)).subarray(PAGE)]));
    const index = await store.add(b.stream, never, () => {}, a.digest);
    expect(index.version).toBe(1);
    expect(await restored(join(store.layout.copy(b.digest), "checkpoint"))).toEqual(second);
    expect(await store.verify(a.digest, never)).not.toEqual([]);
  });

  test("begins anew after so many, or when much of those before is not needed any more", async () => {
    let memory: Memory = memoryOf(64);
    let before = await archiveOf(memory);
    await store.add(before.stream, never);
    const depths: number[] = [];
    for (let n = 0; n < MOST_PARENTS + 2; n++) {
      memory = changed(memory, 20 + n);
      const next = await archiveOf(memory);
      const { files } = await store.add(next.stream, never, () => {}, before.digest);
      depths.push(Math.max(...files.map(({ path }) => path.split("parent/").length - 1)));
      before = next;
    }
    expect(depths).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0, 1]);
    const much = await archiveOf(changed(memory, ...Array.from({ length: 40 }, (_, n) => 16 + n)));
    expect((await store.add(much.stream, never, () => {}, before.digest)).version).toBe(2);
    const after = await archiveOf(changed(memory, 20));
    expect((await store.add(after.stream, never, () => {}, much.digest)).version).toBe(1);
  });

  test("is given to another node whole, by the files that it lacks", async () => {
    const first = memoryOf(50);
    const second = changed(first, 30);
    const a = await archiveOf(first);
    const b = await archiveOf(second);
    await store.add(a.stream, never);
    const { archive, files, shared } = await store.add(b.stream, never, () => {}, a.digest);
    const here = await store.find(a.digest);
    const other = new LocalStore(new Layout(join(root, "other")));
    await other.start();
    let bytes = 0;
    const from = (digest: string) => async (file: { path: string; size: number }, path: string) => {
      bytes += file.size;
      await link(join(store.layout.copy(digest), file.path), path);
    };
    await other.addFiles({ name: "a", archive: a.digest, files: here!.index!.files }, from(a.digest), never);
    bytes = 0;
    const index = await other.addFiles({ name: "b", archive, files, shared }, from(b.digest), never);
    expect(index).toEqual((await store.find(b.digest))?.index);
    expect(bytes).toBeLessThan(50 * PAGE);
    expect(await restored(join(other.layout.copy(b.digest), "checkpoint"))).toEqual(second);
  });

  test("is what the archives were, whatever changed between them", { timeout: 120_000 }, async () => {
    // The first page changes always: no two archives are one.
    const page = fc.integer({ min: 17, max: 60 });
    const change = fc.record({
      rewritten: fc.array(page, { maxLength: 8 }),
      gone: fc.array(page, { maxLength: 8 }),
      come: fc.array(page, { maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const own = await mkdtemp(join(root, "run-"));
        store = new LocalStore(new Layout(own));
        await store.start();
        let memory: Memory = memoryOf(30);
        const made = [await archiveOf(memory)];
        const memories = [memory];
        await store.add(made[0]!.stream, never);
        for (const { rewritten, gone, come } of changes) {
          const next = new Map(changed(memory, 16, ...rewritten));
          for (const one of gone) next.delete(one);
          for (const one of come) if (!next.has(one)) next.set(one, randomBytes(PAGE));
          memory = next;
          memories.push(memory);
          const archive = await archiveOf(memory);
          await store.add(archive.stream, never, () => {}, made.at(-1)!.digest);
          made.push(archive);
        }
        for (const [n, { digest, tar }] of made.entries()) {
          expect(await restored(join(store.layout.copy(digest), "checkpoint"))).toEqual(memories[n]);
          expect((await archiveAgain(digest)).equals(tar)).toBe(true);
          await store.remove(digest);
        }
        expect(await readdir(store.layout.blobs)).toEqual([]);
      }),
      { numRuns: 15 },
    );
  });
});

describe("a copy of an archive of which something is odd", () => {
  const before = memoryOf(40);
  const after = changed(before, 16);
  const pages = (memory: Memory, id: number): EntrySpec => ({
    name: `checkpoint/pages-${id}.img`,
    content: Buffer.concat(sorted(memory).map(([, bytes]) => bytes)),
  });
  const images = (digest: string): string => join(store.layout.copy(digest), "checkpoint");

  test.each(["8", "shmem-1", "07"])("has pages whole that pagemap-%s names too", async (other) => {
    const map = pagemapImage(`pagemap-${other}.img`, 3, runsOf(after));
    const a = await archiveOf(before);
    await store.add(a.stream, never);
    for (const more of [
      [map, ...imagesOf(after)],
      [...imagesOf(after), map],
    ]) {
      const b = await archiveWith(more);
      expect((await store.add(b.stream, never, () => {}, a.digest)).version).toBe(1);
      expect(await restored(images(b.digest), other)).toEqual(after);
      expect(await restored(images(b.digest))).toEqual(after);
    }
  });

  test("shares with two processes that had one pages file", async () => {
    const a = await archiveOf(before, pagemapImage("pagemap-8.img", 3, runsOf(before)));
    const b = await archiveOf(after, pagemapImage("pagemap-8.img", 4, runsOf(after)), pages(after, 4));
    await store.add(a.stream, never);
    const index = await store.add(b.stream, never, () => {}, a.digest);
    expect(index.shared).toHaveLength(1);
    expect(await restored(images(b.digest))).toEqual(after);
    expect(await restored(images(b.digest), 8)).toEqual(after);
  });

  test.each([0, 5, 8, 12])("is as it is where pages have flags that say nothing clear: %d", async (flags) => {
    const map = (of: number) =>
      pagemapImage(`pagemap-${ID}.img`, 3, [
        ...runsOf(before),
        { address: BigInt(PAGE * 1000), pages: 1, flags: of },
      ]);
    const page = (of: number) => randomBytes((of & PRESENT) === 0 ? 0 : PAGE);
    const of = (memory: Memory, one: number) => {
      const bytes = sorted(memory).map(([, content]) => content);
      const content = Buffer.concat([...bytes, page(one)]);
      return archiveWith([map(one), { name: "checkpoint/pages-3.img", content }]);
    };
    const clear = await of(before, PRESENT);
    const odd = await of(before, flags);
    const after = await of(before, PRESENT);
    await store.add(clear.stream, never);
    expect((await store.add(odd.stream, never, () => {}, clear.digest)).version).toBe(1);
    expect((await store.add(after.stream, never, () => {}, odd.digest)).version).toBe(1);
    await store.remove(after.digest);
    expect((await store.add(after.stream, never, () => {}, clear.digest)).version).toBe(2);
  });

  test("is put together again though a name of it is one that copies use", async () => {
    const map = pagemapImage(`pagemap-${ID}.img`, 3, runsOf(after));
    const name = `whole/pagemap-${ID}.img`;
    const a = await archiveOf(before);
    const b = await archiveOf(after, { ...map, name });
    await store.add(a.stream, never);
    expect((await store.add(b.stream, never, () => {}, a.digest)).version).toBe(2);
    expect((await archiveAgain(b.digest)).equals(b.tar)).toBe(true);
  });

  test("shares larger pages, also where all are the same", async () => {
    const larger = 65_536;
    const of = (count: number, bytes: Buffer, name: string) =>
      archiveWith([
        pagemapImage(`pagemap-${ID}.img`, 3, [{ address: BigInt(larger * 9), pages: count, flags: PRESENT }]),
        { name: "checkpoint/pages-3.img", content: bytes },
        { name: `checkpoint/${name}.img`, content: name },
      ]);
    const bytes = randomBytes(3 * larger);
    const a = await of(3, bytes, "a");
    const b = await of(3, bytes, "b");
    const c = await of(3, Buffer.concat([bytes.subarray(0, 2 * larger), randomBytes(larger)]), "c");
    await store.add(a.stream, never);
    expect(sizeOf(await store.add(b.stream, never, () => {}, a.digest), "checkpoint/pages-3.img")).toBe(0);
    expect(sizeOf(await store.add(c.stream, never, () => {}, b.digest), "checkpoint/pages-3.img")).toBe(
      larger,
    );
    for (const { digest, tar } of [b, c]) expect((await archiveAgain(digest)).equals(tar)).toBe(true);
  });
});

describe("while the copy before it", () => {
  const before = memoryOf(40);

  test("has damage that the same content elsewhere has not, a copy is what its archive is", async () => {
    const a = await archiveOf(before);
    const b = await archiveOf(changed(before, 16));
    // A block that cannot be read any more is zeros on many a disk, and so is memory that was cleared.
    const cleared = new Map(before).set(20, Buffer.alloc(PAGE));
    const c = await archiveOf(cleared);
    await store.add(a.stream, never);
    await store.add(b.stream, never, () => {}, a.digest);
    const path = join(store.layout.copy(a.digest), "checkpoint/pages-3.img");
    await writeFile(path, (await readFile(path)).fill(0, 4 * PAGE, 5 * PAGE));
    await store.add(a.stream, never);
    expect(await store.verify(a.digest, never)).toEqual([]);
    await store.add(c.stream, never, () => {}, b.digest);
    expect(await restored(join(store.layout.copy(c.digest), "checkpoint"))).toEqual(cleared);
  });

  test("lacks a file, or can have no more names, a copy is made whole", async () => {
    const a = await archiveOf(before);
    const b = await archiveOf(changed(before, 16));
    await store.add(a.stream, never);
    const full = new LocalStore(new Layout(root), {
      ...realDisk,
      async link(from, to) {
        if (`${to}`.includes("/parent/"))
          throw Object.assign(new Error("too many links"), { code: "EMLINK" });
        await realDisk.link(from, to);
      },
    });
    expect((await full.add(b.stream, never, () => {}, a.digest)).version).toBe(1);
    await store.remove(b.digest);
    await rm(join(store.layout.copy(a.digest), "checkpoint/pages-3.img"));
    expect((await store.add(b.stream, never, () => {}, a.digest)).version).toBe(1);
  });

  test.each([
    ["and nothing of it is the same", (): Memory => memoryOf(40)],
    ["and the archive is cut short", undefined],
  ])("goes %s, its content goes too", async (_, memory) => {
    const a = await archiveOf(before);
    const b = await archiveOf(memory?.() ?? changed(before, 16));
    await store.add(a.stream, never);
    const read = async function* () {
      const cut = Math.floor(b.tar.length / 2);
      yield b.tar.subarray(0, cut);
      await store.remove(a.digest);
      if (memory) yield b.tar.subarray(cut);
    };
    const adding = store.add({ ...b.stream, read }, never, () => {}, a.digest);
    if (memory) await adding;
    else await expect(adding).rejects.toThrow(/ends before/);
    await store.remove(b.digest);
    expect(await readdir(store.layout.blobs)).toEqual([]);
  });

  test("has much that is not shared, that is no reason to begin anew", async () => {
    const other = (): EntrySpec[] => [
      pagemapImage("pagemap-shmem-1.img", 9, runsOf(before)),
      { name: "checkpoint/pages-9.img", content: randomBytes(40 * PAGE) },
    ];
    let last: string | undefined;
    for (const version of [1, 2, 2]) {
      const next = await archiveOf(changed(before, 16), ...other());
      expect((await store.add(next.stream, never, () => {}, last)).version).toBe(version);
      last = next.digest;
    }
  });
});

test("what another node says of shared pages is of files that come", async () => {
  const first = memoryOf(10);
  const a = await archiveOf(first);
  const b = await archiveOf(changed(first, 17));
  await store.add(a.stream, never);
  const { archive, files, shared } = await store.add(b.stream, never, () => {}, a.digest);
  const [one] = shared!;
  const other = new LocalStore(new Layout(join(root, "other")));
  await other.start();
  const fetch = async (file: { path: string }, path: string) =>
    await link(join(store.layout.copy(b.digest), file.path), path);
  for (const lie of [
    [one!, one!],
    [{ ...one!, id: -7 }],
    [{ ...one!, pages: { ...one!.pages, path: "config.dump" } }],
    [{ ...one!, pagemap: { ...one!.pagemap, path: "spec.dump" } }],
    [{ ...one!, pagemap: { ...one!.pagemap, size: one!.pagemap.size + 1 } }],
    [{ ...one!, pagemap: { ...one!.pagemap, sha256: one!.pages.sha256 } }],
  ]) {
    const adding = other.addFiles({ name: "b", archive, files, shared: lie }, fetch, never);
    await expect(adding).rejects.toMatchObject({ code: "ArchiveInvalid" });
  }
  await other.addFiles({ name: "b", archive, files, shared }, fetch, never);
});
