import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeTar } from "../../test/support/archive.ts";
import { image, memoryImages, PAGE, type RunSpec, VMA, type VmaSpec } from "../../test/support/criu.ts";
import { bufferBytes } from "./bytes.ts";
import { readFiles } from "./criu/files.ts";
import { AddressSpace } from "./memory.ts";
import { type Hit, LONGEST_MATCH, type Pattern, type SearchOptions, searchMemory } from "./memory-search.ts";
import { SlowExpressionError } from "./patient.ts";
import { readTar } from "./tar.ts";

async function space(vmas: readonly VmaSpec[], runs: readonly RunSpec[], pages: Uint8Array) {
  const entries = [image("files", "files.img", []), ...memoryImages({ pid: 1, vmas, runs, pages })];
  const tar = await readTar(bufferBytes("a.tar", await makeTar(entries)));
  return await AddressSpace.open(tar, 1, await readFiles(tar));
}

/** Pages of dots with texts at some offsets. */
function pagesWith(pages: number, texts: Readonly<Record<number, string>>): Buffer {
  const bytes = Buffer.alloc(pages * PAGE, ".");
  for (const [at, text] of Object.entries(texts)) bytes.write(text, Number(at), "latin1");
  return bytes;
}

const text = (text: string): Pattern => ({ type: "text", text });
const regex = (source: string, ignoreCase = false): Pattern => ({ type: "regex", source, ignoreCase });

async function found(memory: AddressSpace, pattern: Pattern, options?: SearchOptions) {
  const hits: [string, string][] = [];
  for await (const hit of searchMemory(memory, pattern, options)) hits.push(shown(hit));
  return hits;
}

const shown = ({ address, context }: Hit): [string, string] => [
  `0x${address.toString(16)}`,
  context.bytes.toString("latin1"),
];

const BASE = 0x10000n;
const plain = (bytes: Buffer) =>
  space(
    [{ start: BASE, pages: bytes.length / PAGE, status: 1n | VMA.heap }],
    [{ address: BASE, pages: bytes.length / PAGE }],
    bytes,
  );

describe.each([64, 100, PAGE, 1 << 20])("in pieces of %i bytes", (pieceBytes) => {
  test("finds text wherever pages and pieces begin", async () => {
    const places = { 0: "needle", 61: "needle", 97: "needle", 4093: "needle", [3 * PAGE - 6]: "needle" };
    const hits = await found(await plain(pagesWith(3, places)), text("needle"), { pieceBytes });
    expect(hits.map(([address]) => Number(address) - Number(BASE))).toEqual(Object.keys(places).map(Number));
  });

  test("shows what surrounds a match, as far as it is held", async () => {
    const memory = await plain(pagesWith(1, { 0: "needle", 200: "before:needle:after" }));
    expect(await found(memory, text("needle"), { pieceBytes, contextBytes: 6 })).toEqual([
      ["0x10000", "needle......"],
      ["0x100cf", "efore:needle:after"],
    ]);
  });

  test("finds what an expression matches, once", async () => {
    const memory = await plain(pagesWith(2, { 50: "PassWord=abc ", 4090: "password=0123456789 " }));
    expect(await found(memory, regex("password=\\w+", true), { pieceBytes })).toEqual([
      ["0x10032", "PassWord=abc"],
      ["0x10ffa", "password=0123456789"],
    ]);
    expect(await found(memory, regex("password=\\w+"), { pieceBytes })).toHaveLength(1);
    expect(await found(memory, regex("w*"), { pieceBytes })).toHaveLength(1);
    const [[, match] = []] = await found(memory, regex("[^.]{9}.+"), { pieceBytes });
    expect(match?.length).toBe(2 * PAGE - 50);
  });

  test("finds as many as a search of all bytes at once would", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: PAGE, maxLength: PAGE, max: 3 }),
        fc.uint8Array({ minLength: 1, maxLength: 7, max: 3 }),
        async (bytes, wanted) => {
          const memory = await plain(Buffer.from(bytes));
          const pattern = Buffer.from(wanted).toString("latin1");
          const expected: number[] = [];
          const all = Buffer.from(bytes).toString("latin1");
          for (let at = all.indexOf(pattern); at >= 0; at = all.indexOf(pattern, at + pattern.length)) {
            expected.push(at);
          }
          const hits = await found(memory, text(pattern), { pieceBytes });
          expect(hits.map(([address]) => Number(address) - Number(BASE))).toEqual(expected);
        },
      ),
      { numRuns: 10 },
    );
  });
});

test("text is bytes of UTF-8, and its marks mean themselves", async () => {
  const memory = await plain(pagesWith(1, { 10: Buffer.from("größe (a+b)?").toString("latin1") }));
  expect(await found(memory, text("größe"))).toHaveLength(1);
  expect(await found(memory, text("(a+b)?"))).toHaveLength(1);
  expect(await found(memory, regex("gr.{2}ße"))).toHaveLength(1);
  await expect(found(memory, text(""))).rejects.toThrow(SyntaxError);
  await expect(found(memory, regex("("))).rejects.toThrow(SyntaxError);
});

test("a match goes on in the mapping that adjoins, and not over a gap; it is its first byte's mapping's", async () => {
  const bytes = pagesWith(4, { [PAGE - 3]: "needle", [2 * PAGE - 3]: "needle", [4 * PAGE - 3]: "nee" });
  const memory = await space(
    [
      { start: 0x10000n, pages: 1, status: 1n | VMA.heap },
      { start: 0x11000n, pages: 1, prot: 5 },
      // The third page is one further up, and the fourth again.
      { start: 0x13000n, pages: 4 },
    ],
    [
      { address: 0x10000n, pages: 2 },
      { address: 0x13000n, pages: 1 },
      { address: 0x15000n, pages: 1 },
    ],
    bytes,
  );
  const hits = await Array.fromAsync(searchMemory(memory, text("needle")));
  expect(hits.map(({ address, mapping: { name, permissions } }) => [address, name, permissions])).toEqual([
    [0x10ffdn, "[heap]", "rw-p"],
  ]);
});

test("searches what is selected and nothing else", async () => {
  const memory = await space(
    [
      { start: 0x10000n, pages: 1, status: 1n | VMA.heap },
      { start: 0x20000n, pages: 2 },
    ],
    [
      { address: 0x10000n, pages: 1 },
      { address: 0x20000n, pages: 2 },
    ],
    pagesWith(3, { 5: "needle", [PAGE + 5]: "needle", [2 * PAGE + 5]: "needle" }),
  );
  const addresses = async (options: SearchOptions) =>
    (await found(memory, text("needle"), options)).map(([address]) => address);
  expect(await addresses({ kinds: new Set(["heap"]) })).toEqual(["0x10005"]);
  expect(await addresses({ kinds: new Set(["stack"]) })).toEqual([]);
  expect(await addresses({ range: { start: 0x10006n, end: 0x2000bn } })).toEqual(["0x20005"]);
  expect(await addresses({ range: { start: 0x10006n, end: 0x2000an } })).toEqual([]);
});

test("an expression's match may be long", async () => {
  const bytes = pagesWith(16, { 5000: `a${"b".repeat(LONGEST_MATCH - 2)}c` });
  const [hit, ...more] = await found(await plain(bytes), regex("ab+c"), { pieceBytes: PAGE });
  expect([hit?.[1].length, more]).toEqual([LONGEST_MATCH, []]);
  // Begins near the end of what is held, and goes on behind it.
  const late = await plain(pagesWith(16, { 9000: "b".repeat(16_000) }));
  const hits = await found(late, regex("b+"), { pieceBytes: PAGE });
  expect(hits.map(([, match]) => match.length)).toEqual([16_000]);
});

test("an expression that tries too much ends, in an error of its own", async () => {
  const memory = await plain(pagesWith(64, {}));
  const slow = found(memory, regex("[^\\0]*password"), { pieceMs: 100 });
  await expect(slow).rejects.toThrow(SlowExpressionError);
});

test("counts what it looked at, and stops when it is told to", async () => {
  const memory = await plain(pagesWith(8, {}));
  const abort = new AbortController();
  const counts: number[] = [];
  const onProgress = (bytes: number) => {
    counts.push(bytes);
    if (counts.length === 3) abort.abort(new Error("enough"));
  };
  const options = { pieceBytes: PAGE, signal: abort.signal, onProgress };
  await expect(found(memory, text("needle"), options)).rejects.toThrow("enough");
  expect(counts).toEqual([PAGE, 2 * PAGE, 3 * PAGE]);
});
