import { createHash } from "node:crypto";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { makeTar } from "../../test/support/archive.ts";
import { type Bytes, bufferBytes } from "./bytes.ts";
import { readTar } from "./tar.ts";
import { unpackTar } from "./unpacking.ts";

/** Bytes that do not compress, the same in each run. */
function noise(size: number): Buffer {
  const hash = (i: number) => createHash("sha512").update(String(i)).digest();
  return Buffer.concat(Array.from({ length: Math.ceil(size / 64) }, (_, i) => hash(i))).subarray(0, size);
}

const large = noise(3 * 2 ** 20);
const tar = await makeTar([
  { name: "config.dump", content: "{}" },
  { name: "checkpoint", type: "directory" },
  { name: "checkpoint/pages-1.img", content: large },
  { name: "checkpoint/empty.img", content: "" },
  { name: "checkpoint/mm-1.img", content: "small" },
]);
const params = { [constants.ZSTD_c_checksumFlag]: 1 };
const packings = { gzip: gzipSync(tar), zstd: zstdCompressSync(tar, { params }) };

/** Counts how often it is read from its start: once a pass. */
function counted(bytes: Bytes): Bytes & { passes: number } {
  return {
    name: bytes.name,
    size: bytes.size,
    passes: 0,
    async read(offset, length) {
      // The first four bytes tell how it is packed.
      if (offset === 0 && length > 4) this.passes += 1;
      return await bytes.read(offset, length);
    },
  };
}

describe.each(["gzip", "zstd"] as const)("a tar packed with %s", (how) => {
  let opened: Awaited<ReturnType<typeof unpackTar>>;
  afterEach(() => opened[Symbol.asyncDispose]());

  test("has the entries that it has unpacked, and their content", async () => {
    opened = await unpackTar(bufferBytes("a.tar", packings[how]));
    const plain = await readTar(bufferBytes("a.tar", tar));
    expect([...opened.entries()]).toEqual([...plain.entries()]);
    for (const { name, type } of plain.entries()) {
      if (type !== "file") continue;
      expect(await opened.read(name, 2 ** 30)).toEqual(await plain.read(name, 2 ** 30));
    }
  });

  test("is passed over once to open it and once for what is read in order; small entries cost nothing", async () => {
    const packed = counted(bufferBytes("a.tar", packings[how]));
    opened = await unpackTar(packed);
    expect(packed.passes).toBe(1);
    for (let i = 0; i < 5; i++)
      expect((await opened.read("checkpoint/mm-1.img", 10)).toString()).toBe("small");
    expect(packed.passes).toBe(1);
    const pages = opened.open("checkpoint/pages-1.img")!;
    for (let at = 0; at < pages.size; at += 2 ** 18) {
      expect((await pages.read(at, 2 ** 18)).equals(large.subarray(at, at + 2 ** 18))).toBe(true);
    }
    expect(packed.passes).toBe(2);
    await pages.read(0, 1);
    expect(packed.passes).toBe(3);
  });

  test("may be read at any places at once", async () => {
    opened = await unpackTar(bufferBytes("a.tar", packings[how]));
    const pages = opened.open("checkpoint/pages-1.img")!;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(large.length - 1), fc.nat(300_000))), async (ranges) => {
        await Promise.all(
          ranges.map(async ([offset, wanted]) => {
            const length = Math.min(wanted, large.length - offset);
            expect((await pages.read(offset, length)).equals(large.subarray(offset, offset + length))).toBe(
              true,
            );
          }),
        );
      }),
      { numRuns: 10 },
    );
    await expect(pages.read(large.length, 1)).rejects.toMatchObject({ code: "truncated" });
  });

  test("is refused when it is damaged or cut off", async () => {
    const packed = packings[how];
    const bad = Buffer.from(packed);
    bad[packed.length >> 1]! ^= 0xff;
    for (const bytes of [bad, packed.subarray(0, packed.length >> 1), packed.subarray(0, 6)]) {
      await expect(unpackTar(bufferBytes("a.tar", bytes))).rejects.toMatchObject({ name: "ArchiveError" });
    }
  });
});
