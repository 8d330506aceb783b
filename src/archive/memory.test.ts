import fc from "fast-check";
import { expect, test } from "vitest";
import { type EntrySpec, makeTar, message } from "../../test/support/archive.ts";
import { image, imageOfMany, memoryImages, PAGE, pagemapImage, VMA } from "../../test/support/criu.ts";
import { bufferBytes } from "./bytes.ts";
import { readFiles } from "./criu/files.ts";
import { Pagemap } from "./criu/pagemap.ts";
import { ArchiveError } from "./errors.ts";
import { AddressSpace, type MemoryPiece } from "./memory.ts";
import { readTar } from "./tar.ts";

const page = (fill: number, pages = 1) => Buffer.alloc(pages * PAGE, fill);
const regular = (id: number, path: string) => message({ 1: 1, 2: id, 3: message({ 1: id, 6: path }) });

async function open(entries: readonly EntrySpec[], files: readonly Uint8Array[] = []): Promise<AddressSpace> {
  const tar = await readTar(
    bufferBytes("a.tar", await makeTar([image("files", "files.img", files), ...entries])),
  );
  return await AddressSpace.open(tar, 1, await readFiles(tar));
}

const summary = (pieces: readonly MemoryPiece[]) =>
  pieces.map((piece) => [
    piece.state,
    `0x${piece.address.toString(16)}`,
    piece.length / PAGE,
    ...(piece.state === "present" ? [piece.bytes[0]] : []),
  ]);

test("names mappings as the kernel does, with their permissions", async () => {
  const space = await open(
    memoryImages({
      pid: 1,
      vmas: [
        { start: 0x1000n, pages: 2, prot: 5, flags: 2, status: 1n | VMA.filePrivate, sourceId: 7n },
        { start: 0x4000n, pages: 1, status: 1n | VMA.heap },
        { start: 0x5000n, pages: 1, prot: 0 },
        { start: 0x7000n, pages: 1, flags: 0x21, status: 1n | VMA.shared, sourceId: 9n },
        { start: 0x9000n, pages: 1, flags: 0x122 },
        { start: 0xffffffffff600000n, pages: 1, prot: 5, status: 5n },
      ],
      runs: [],
      pages: Buffer.alloc(0),
    }),
    [regular(7, "/bin/sh")],
  );
  expect(space.mappings.map(({ kind, permissions, name }) => [kind, permissions, name])).toEqual([
    ["file", "r-xp", "/bin/sh"],
    ["heap", "rw-p", "[heap]"],
    ["anonymous", "---p", ""],
    ["shared", "rw-s", "[shmem 9]"],
    ["stack", "rw-p", "[stack]"],
    ["vsyscall", "r-xp", "[vsyscall]"],
  ]);
  expect(space.find(0x2fffn)?.name).toBe("/bin/sh");
  expect(space.find(0x3000n)).toBeUndefined();
  expect(space.find(0xffffffffff600fffn)?.kind).toBe("vsyscall");
});

test("guard pages, which stand behind all mappings, are none", async () => {
  const vmas = [
    { start: 0x4000n, pages: 2 },
    { start: 0x8000n, pages: 1 },
    { start: 0x4000n, pages: 1, prot: 0, flags: 0, status: 1n << 16n },
  ];
  const space = await open(memoryImages({ pid: 1, vmas, runs: [], pages: Buffer.alloc(0) }));
  expect(space.mappings.map(({ start }) => start)).toEqual([0x4000n, 0x8000n]);
});

test("gives all of a range, in order: pages, holes, what the parent has, and what is not mapped", async () => {
  const space = await open(
    memoryImages({
      pid: 1,
      vmas: [
        { start: 0x10000n, pages: 6 },
        { start: 0x20000n, pages: 2, status: 1n | VMA.filePrivate, sourceId: 7n },
      ],
      runs: [
        { address: 0x10000n, pages: 1 },
        { address: 0x11000n, pages: 2, flags: 1 },
        { address: 0x14000n, pages: 1 },
        { address: 0x15000n, pages: 1, flags: 2 },
        { address: 0x21000n, pages: 1 },
      ],
      pages: Buffer.concat([page(1), page(2), page(3)]),
    }),
    [regular(7, "/bin/sh")],
  );
  const pieces = await Array.fromAsync(space.readRange(0xf000n, 0x14000));
  expect(summary(pieces)).toEqual([
    ["unmapped", "0xf000", 1],
    ["present", "0x10000", 1, 1],
    ["parent", "0x11000", 2],
    ["zero", "0x13000", 1],
    // The parent's two pages take no space in the pages file.
    ["present", "0x14000", 1, 2],
    ["lazy", "0x15000", 1],
    ["unmapped", "0x16000", 10],
    ["file", "0x20000", 1],
    ["present", "0x21000", 1, 3],
    ["unmapped", "0x22000", 1],
  ]);
  expect(await space.read(0x13ff8n, 16)).toEqual(Buffer.concat([Buffer.alloc(8), Buffer.alloc(8, 2)]));
  await expect(space.read(0x10000n, 2 * PAGE)).rejects.toMatchObject({ code: "missing" });
  expect(space.pagemap.presentBytes).toBe(3 * PAGE);
});

test("cuts pages into pieces of the size that is asked for", async () => {
  const pages = Buffer.from(Array.from({ length: 3 * PAGE }, (_, i) => i % 251));
  const space = await open(
    memoryImages({
      pid: 1,
      vmas: [{ start: 0x1000n, pages: 3 }],
      runs: [{ address: 0x1000n, pages: 3 }],
      pages,
    }),
  );
  const pieces = await Array.fromAsync(space.readRange(0x1005n, 3 * PAGE - 5, { pieceBytes: 5000 }));
  expect(pieces.map(({ length }) => length)).toEqual([5000, 5000, 3 * PAGE - 10_005]);
  expect(Buffer.concat(pieces.map((p) => (p.state === "present" ? p.bytes : Buffer.alloc(0))))).toEqual(
    pages.subarray(5),
  );
});

test("reads shared memory where it is kept, from the offset that is mapped", async () => {
  const space = await open([
    ...memoryImages({
      pid: 1,
      vmas: [
        { start: 0x7000n, pages: 2, flags: 1, status: 1n | VMA.shared, sourceId: 9n, offset: 0x1000n },
        { start: 0x9000n, pages: 1, flags: 1, status: 1n | VMA.shared, sourceId: 10n },
      ],
      runs: [],
      pages: Buffer.alloc(0),
    }),
    pagemapImage("pagemap-shmem-9.img", 2, [{ address: 0n, pages: 2 }]),
    { name: "checkpoint/pages-2.img", content: Buffer.concat([page(1), page(2)]) },
  ]);
  expect(summary(await Array.fromAsync(space.readRange(0x7000n, 3 * PAGE)))).toEqual([
    ["present", "0x7000", 1, 2],
    ["zero", "0x8000", 1],
    ["zero", "0x9000", 1],
  ]);
});

test("takes the size of a page from the image", async () => {
  const large = 65_536;
  const space = await open(
    memoryImages({
      pid: 1,
      pageSize: large,
      vmas: [{ start: 0n, pages: 2 }],
      runs: [{ address: 65_536n, pages: 1 }],
      pages: Buffer.alloc(large, 5),
    }),
  );
  expect(space.pageSize).toBe(large);
  expect(await space.read(65_535n, 3)).toEqual(Buffer.from([0, 5, 5]));
  const without = memoryImages({ pid: 1, pageSize: 0, vmas: [], runs: [], pages: Buffer.alloc(0) });
  await expect(open(without)).rejects.toMatchObject({ code: "unsupported" });
});

test("understands images of before there were flags", async () => {
  const head = message({ 1: 1 });
  const old = [message({ 1: 0x1000, 2: 1, 3: 1 }), message({ 1: 0x2000, 2: 3 })];
  const { content } = image("pagemap", "pagemap-1.img", [head, ...old]);
  const map = await Pagemap.read(bufferBytes("pagemap-1.img", content as Buffer), PAGE);
  expect([...map.runs()]).toEqual([
    { state: "parent", address: 0x1000n, length: PAGE },
    { state: "present", address: 0x2000n, length: 3 * PAGE, offset: 0 },
  ]);
});

test("refuses mappings and runs that overlap or go backwards, and pages that are cut off", async () => {
  const base = { pid: 1, vmas: [{ start: 0x1000n, pages: 4 }], pages: page(1) };
  const twice = [
    { address: 0x1000n, pages: 2 },
    { address: 0x2000n, pages: 1 },
  ];
  await expect(open(memoryImages({ ...base, runs: twice }))).rejects.toMatchObject({ code: "malformed" });
  const odd = [{ address: 0x1001n, pages: 1 }];
  await expect(open(memoryImages({ ...base, runs: odd }))).rejects.toMatchObject({ code: "malformed" });
  const beyond = [{ address: 0xfffffffffffff000n, pages: 2 }];
  await expect(open(memoryImages({ ...base, runs: beyond }))).rejects.toMatchObject({ code: "malformed" });
  const vmas = [
    { start: 0x1000n, pages: 2 },
    { start: 0x2000n, pages: 1 },
  ];
  await expect(open(memoryImages({ ...base, vmas, runs: [] }))).rejects.toMatchObject({ code: "malformed" });
  const cut = await open(memoryImages({ ...base, runs: [{ address: 0x1000n, pages: 2 }] }));
  await expect(Array.fromAsync(cut.readRange(0x1000n, 2 * PAGE))).rejects.toMatchObject({
    code: "truncated",
  });
  await expect(open([])).rejects.toMatchObject({ code: "missing" });
});

test("a million runs take little memory; an absurd number of pages costs nothing", async () => {
  const rest = message({ 2: 1, 4: 4 });
  const image = imageOfMany("pagemap", 1_000_000, { step: 0x2000, rest, head: [message({ 1: 1 })] });
  const before = process.memoryUsage().arrayBuffers;
  const map = await Pagemap.read(bufferBytes("pagemap-1.img", image), PAGE);
  expect(map.size).toBe(1_000_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(80 * 2 ** 20);
  expect([...map.stretches(0x2000n * 999_999n, 1)]).toEqual([
    { state: "present", address: 0x2000n * 999_999n, length: 1, offset: 999_999 * PAGE },
  ]);
  const absurd = await open(
    memoryImages({
      pid: 1,
      vmas: [{ start: 0n, pages: 2 ** 40 }],
      runs: [{ address: 0n, pages: 2 ** 40 }],
      pages: page(1),
    }),
  );
  await expect(Array.fromAsync(absurd.readRange(0n, 2 ** 52))).rejects.toMatchObject({ code: "truncated" });
});

test("any bytes in place of an image end in pieces or an ArchiveError", async () => {
  const good = memoryImages({
    pid: 1,
    vmas: [{ start: 0x1000n, pages: 4 }],
    runs: [{ address: 0x1000n, pages: 2 }],
    pages: page(1, 2),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1),
      fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255) }), { minLength: 1, maxLength: 4 }),
      async (which, changes) => {
        const bad = good.map((entry) => ({ ...entry, content: Buffer.from(entry.content as Buffer) }));
        const bytes = bad[which]!.content;
        for (const { at, byte } of changes) bytes[8 + (at % (bytes.length - 8))] = byte;
        try {
          const space = await open(bad);
          let length = 0;
          for await (const piece of space.readRange(0x1000n, 4 * PAGE)) length += piece.length;
          expect(length).toBe(4 * PAGE);
        } catch (error) {
          expect(error).toBeInstanceOf(ArchiveError);
        }
      },
    ),
    { numRuns: 300 },
  );
});
