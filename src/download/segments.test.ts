import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkpointEntries, type EntrySpec, makeTar } from "../../test/support/archive.ts";
import { LocalStore } from "../agent/store/store.ts";
import { Layout } from "../store/layout.ts";
import { cut, restOf, type Segment, segmentsOf, sizeOf } from "./segments.ts";

const never = new AbortController().signal;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

let directory: string;
let store: LocalStore;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-segments-"));
  store = new LocalStore(new Layout(directory));
  await store.start();
});
afterAll(() => rm(directory, { recursive: true }));

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** An archive, unpacked into a copy, and what it is made of. */
async function unpacked(more: EntrySpec[], tail = Buffer.alloc(0), pieces = 70_000) {
  const entries = checkpointEntries({ pages: randomBytes(50_001), more });
  const tar = Buffer.concat([await makeTar(entries), tail]);
  const stream = { name: "a.tar", size: tar.length, read: () => inPieces(tar, pieces) };
  const { archive, files } = await store.add(stream, never);
  expect(archive).toBe(sha256(tar));
  const contents = new Map<string, Buffer>();
  for (const { path } of files) contents.set(path, await readFile(join(store.layout.copy(archive), path)));
  const rest = restOf({ files })!;
  const segments = await segmentsOf({ files }, rest, inPieces(contents.get(rest.path)!, pieces), never);
  const read = (from: number, end: number): Buffer =>
    Buffer.concat(
      [...cut(segments, { from, end })].map(({ file, range }) =>
        contents.get(file.path)!.subarray(range.from, range.end),
      ),
    );
  return { tar, files, segments, contents, rest, read };
}

const long = `checkpoint/${"n".repeat(180)}.img`;
const shapes: [string, EntrySpec[], Buffer<ArrayBuffer>?][] = [
  ["as engines make it", []],
  [
    "with a log, a link and a directory that no restore needs",
    [
      { name: "container.log", content: randomBytes(2000) },
      { name: "link", type: "symlink", linkname: "config.dump" },
      { name: "volumes", type: "directory" },
    ],
  ],
  ["with a name that takes a header of its own", [{ name: long, content: "long" }]],
  [
    "with an empty file, and one of just a block",
    [
      { name: "checkpoint/empty.img", content: "" },
      { name: "checkpoint/block.img", content: Buffer.alloc(512, 1) },
    ],
  ],
  ["with an entry that is called as the rest is", [{ name: "archive.rest", content: "not the rest" }]],
  ["with more after its end", [], randomBytes(3000)],
];

describe("an archive", () => {
  test.each(shapes)("%s is made again of its copy, byte for byte", async (_, more, tail) => {
    for (const pieces of [101, 70_000]) {
      const { tar, segments, read } = await unpacked(more, tail, pieces);
      expect(sizeOf(segments)).toBe(tar.length);
      expect(read(0, tar.length).equals(tar)).toBe(true);
    }
  });

  test("is had in parts, whatever they are", async () => {
    const { tar, read } = await unpacked([{ name: "container.log", content: "log" }]);
    fc.assert(
      fc.property(fc.nat(tar.length), fc.nat(5000), (from, length) => {
        const end = Math.min(from + length, tar.length);
        expect(read(from, end).equals(tar.subarray(from, end))).toBe(true);
      }),
    );
  });

  test("is not made of a rest that is of other files, or cut short", async () => {
    const { files, rest, contents } = await unpacked([]);
    const bytes = contents.get(rest.path)!;
    const others = files.map((file) => ({ ...file, size: file.size + 512 }));
    for (const [of, content] of [
      [files, bytes.subarray(0, 5000)],
      [files, Buffer.alloc(5000, 1)],
      [others, bytes],
    ] as const) {
      await expect(segmentsOf({ files: of }, rest, inPieces(content, 1000), never)).rejects.toThrow();
    }
  });
});

test("parts that are none are of nothing", () => {
  const file = { path: "a", size: 10, sha256: sha256(Buffer.from("a")) };
  const segments: Segment[] = [{ start: 0, length: 10, file, at: 0 }];
  expect([...cut(segments, { from: 5, end: 5 })]).toEqual([]);
  expect([...cut([], { from: 0, end: 5 })]).toEqual([]);
  expect(sizeOf([])).toBe(0);
});
