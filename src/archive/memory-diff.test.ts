import { expect, test } from "vitest";
import { makeTar } from "../../test/support/archive.ts";
import { image, type MemorySpec, memoryImages, PAGE, VMA } from "../../test/support/criu.ts";
import { regularFile } from "../../test/support/processes.ts";
import { bufferBytes } from "./bytes.ts";
import { readFiles } from "./criu/files.ts";
import { AddressSpace } from "./memory.ts";
import { diffMemory } from "./memory-diff.ts";
import { readTar } from "./tar.ts";

async function open(spec: Omit<MemorySpec, "pid">) {
  const entries = [
    image("files", "files.img", [regularFile(7, "/bin/sh")]),
    ...memoryImages({ pid: 1, ...spec }),
  ];
  const tar = await readTar(bufferBytes("a.tar", await makeTar(entries)));
  return await AddressSpace.open(tar, 1, await readFiles(tar));
}

const page = (fill: number, pages = 1) => Buffer.alloc(pages * PAGE, fill);
const HEAP = { start: 0x10000n, pages: 300, status: 1n | VMA.heap };
const TEXT = { start: 0x8000n, pages: 4, prot: 5, flags: 2, status: 1n | VMA.filePrivate, sourceId: 7n };

async function differences(a: AddressSpace, b: AddressSpace) {
  const found = [];
  for await (const { mapping, ...rest } of diffMemory(a, b)) {
    found.push({ at: mapping.start, ...rest });
  }
  return found;
}

test("memory is the same when the same bytes are at the same addresses, wherever pages lie", async () => {
  const a = await open({
    vmas: [TEXT, HEAP],
    runs: [{ address: 0x10000n, pages: 300 }],
    pages: page(7, 300),
  });
  const b = await open({
    vmas: [TEXT, HEAP],
    runs: [
      { address: 0x10000n, pages: 100 },
      { address: 0x10000n + 100n * 4096n, pages: 200 },
    ],
    pages: page(7, 300),
  });
  expect(await differences(a, b)).toEqual([]);
  // A page of zeros, and one that was never touched.
  const zeros = await open({ vmas: [HEAP], runs: [{ address: 0x11000n, pages: 1 }], pages: page(0) });
  expect(await differences(zeros, await open({ vmas: [HEAP], runs: [], pages: page(0, 0) }))).toEqual([]);
});

test("counts pages with other bytes, in whichever of the two they are", async () => {
  const runs = [{ address: 0x10000n, pages: 300 }];
  const a = await open({ vmas: [HEAP], runs, pages: page(7, 300) });
  const bytes = page(7, 300);
  for (const at of [0, PAGE - 1, 5 * PAGE, 299 * PAGE + 9]) bytes[at] = 8;
  const b = await open({ vmas: [HEAP], runs, pages: bytes });
  const changed = [{ at: HEAP.start, change: "changed", pages: 300, changed: 3, unknown: 0 }];
  expect(await differences(a, b)).toEqual(changed);
  const less = await open({ vmas: [HEAP], runs: [{ address: 0x10000n, pages: 290 }], pages: page(7, 290) });
  expect(await differences(a, less)).toMatchObject([{ changed: 10 }]);
  expect(await differences(less, a)).toMatchObject([{ changed: 10 }]);
});

test("a page of a file counts when it was changed in memory", async () => {
  const same = await open({ vmas: [TEXT], runs: [], pages: page(0, 0) });
  const changed = await open({ vmas: [TEXT], runs: [{ address: 0x9000n, pages: 2 }], pages: page(0, 2) });
  expect(await differences(same, changed)).toMatchObject([{ at: 0x8000n, pages: 4, changed: 2 }]);
  expect(await differences(changed, same)).toMatchObject([{ changed: 2 }]);
});

test("mappings that only one has, or has otherwise", async () => {
  const runs = [{ address: 0x10000n, pages: 2 }];
  const a = await open({ vmas: [TEXT, { ...HEAP, pages: 2 }], runs, pages: page(1, 2) });
  const moved = [{ address: 0x50000n, pages: 1 }];
  const b = await open({ vmas: [TEXT, { ...HEAP, start: 0x50000n, pages: 4 }], runs: moved, pages: page(1) });
  expect(await differences(a, b)).toEqual([
    { at: 0x50000n, change: "added", pages: 4, changed: 1, unknown: 0 },
    { at: 0x10000n, change: "removed", pages: 2, changed: 2, unknown: 0 },
  ]);
  const grown = await open({ vmas: [TEXT, { ...HEAP, pages: 3 }], runs, pages: page(1, 2) });
  expect(await differences(a, grown)).toMatchObject([{ change: "changed", pages: 3, changed: 0 }]);
  const locked = await open({
    vmas: [
      { ...TEXT, prot: 1 },
      { ...HEAP, pages: 2 },
    ],
    runs,
    pages: page(1, 2),
  });
  expect(await differences(a, locked)).toMatchObject([{ at: 0x8000n, change: "changed", changed: 0 }]);
});

test("says what cannot be known: pages of a parent, however many", async () => {
  const a = await open({ vmas: [HEAP], runs: [{ address: 0x10000n, pages: 3 }], pages: page(1, 3) });
  const parent = [{ address: 0x10000n, pages: 2, flags: 1 }];
  const b = await open({ vmas: [HEAP], runs: [...parent, { address: 0x12000n, pages: 1 }], pages: page(1) });
  expect(await differences(a, b)).toMatchObject([{ changed: 0, unknown: 2 }]);
  expect(await differences(b, a)).toMatchObject([{ changed: 0, unknown: 2 }]);
  const huge = { start: 0n, pages: 2 ** 40 };
  const absurd = await open({
    vmas: [huge],
    runs: [{ address: 0n, pages: 2 ** 40, flags: 1 }],
    pages: page(0, 0),
  });
  expect(await differences(absurd, absurd)).toMatchObject([{ unknown: 2 ** 40 }]);
});
