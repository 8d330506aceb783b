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

async function archiveOf(memory: Memory): Promise<{ tar: Buffer; stream: ArchiveStream; digest: string }> {
  const tar = await makeTar(checkpointEntries({ more: imagesOf(memory) }));
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
async function restored(directory: string): Promise<Map<number, Buffer>> {
  await using image = await FileBytes.open(join(directory, `pagemap-${ID}.img`));
  const map = await Pagemap.read(image, PAGE);
  const pages = await readFile(join(directory, `pages-${map.pagesId}.img`));
  expect(pages.length).toBe(map.presentBytes);
  const runs = [...map.runs()];
  const parent = runs.some(({ state }) => state === "parent")
    ? await restored(join(directory, "parent"))
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
