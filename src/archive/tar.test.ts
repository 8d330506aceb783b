import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeTar } from "../../test/support/archive.ts";
import { type Bytes, bufferBytes } from "./bytes.ts";
import { ArchiveError } from "./errors.ts";
import { readTar, type TarLimits } from "./tar.ts";

const open = (tar: Buffer, limits?: TarLimits) => readTar(bufferBytes("a.tar", tar), { limits });

/** Writes a field of the first header, and mends the checksum. */
function patched(tar: Buffer, offset: number, field: Buffer | string, header = 0): Buffer {
  const copy = Buffer.from(tar);
  copy.set(Buffer.from(field as string), header + offset);
  copy.fill(0x20, header + 148, header + 156);
  const sum = copy.subarray(header, header + 512).reduce((total, byte) => total + byte, 0);
  copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, header + 148);
  return copy;
}

const base256 = (value: bigint) => {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE(value, 4);
  bytes[0] = 0x80;
  return bytes;
};

describe("reading a tar", () => {
  test("finds entries by their exact names and reads their content in place", async () => {
    const tar = await open(
      await makeTar([
        { name: "config.dump", content: "{}" },
        { name: "x-config.dump", content: "no" },
        { name: "../config.dump", content: "no" },
        { name: "checkpoint", type: "directory" },
        { name: "checkpoint/pages-1.img", content: Buffer.alloc(10_000, 7) },
        { name: "link", type: "symlink", linkname: "/etc/passwd" },
      ]),
    );
    expect((await tar.read("config.dump", 100)).toString()).toBe("{}");
    expect(tar.find("checkpoint")?.type).toBe("directory");
    expect(await tar.open("checkpoint/pages-1.img")!.read(9_000, 1_000)).toEqual(Buffer.alloc(1_000, 7));
    expect(tar.find("link")).toMatchObject({ type: "symlink", linkName: "/etc/passwd" });
    expect(tar.open("link")).toBeUndefined();
    expect(tar.open("config")).toBeUndefined();
    await expect(tar.read("spec.dump", 100)).rejects.toMatchObject({ code: "missing" });
    await expect(tar.read("checkpoint/pages-1.img", 100)).rejects.toMatchObject({ code: "too-large" });
  });

  test("strips ./ as unpackers do, but takes no other path for a name", async () => {
    const tar = await open(await makeTar([{ name: "./config.dump", content: "1" }, { name: "/spec.dump" }]));
    expect(tar.find("config.dump")).toBeDefined();
    expect(tar.find("spec.dump")).toBeUndefined();
  });

  test("takes no time over a name of very many slashes", async () => {
    const name = `a${"/".repeat(300_000)}b`;
    const long = patched(await makeTar([{ name: "././@LongLink", content: `${name}\0` }]), 156, "L");
    const tar = await open(Buffer.concat([long.subarray(0, -1024), await makeTar([{ name: "short" }])]));
    expect(tar.find(name)?.type).toBe("file");
  });

  test("reads long names (pax and GNU)", async () => {
    const name = `checkpoint/${"n".repeat(300)}.img`;
    const pax = await open(await makeTar([{ name, content: "pax" }]));
    expect((await pax.read(name, 100)).toString()).toBe("pax");

    const plain = await makeTar([{ name: "short", content: "gnu" }]);
    const long = await makeTar([{ name: "././@LongLink", content: `${name}\0` }]);
    const gnu = await open(Buffer.concat([patched(long, 156, "L").subarray(0, 1024), plain]));
    expect((await gnu.read(name, 100)).toString()).toBe("gnu");
  });

  test.each(["base-256", "pax"])("finds the entry after one of more than 8 GiB (size as %s)", async (how) => {
    const size = 9 * 1024 ** 3;
    const big = await makeTar([{ name: "pages", content: "" }]);
    const after = await makeTar([{ name: "after", content: "found" }]);
    const pax = await makeTar([{ name: "pax", content: "19 size=9663676416\n" }]);
    const head =
      how === "pax"
        ? Buffer.concat([patched(pax, 156, "x").subarray(0, 1024), big.subarray(0, 512)])
        : patched(big, 124, base256(BigInt(size))).subarray(0, 512);
    const tar = await readTar(holed([head, size, after]));
    expect(tar.find("pages")?.size).toBe(size);
    expect((await tar.read("after", 100)).toString()).toBe("found");
  });

  test.each([
    [
      "cut off inside an entry",
      async () => (await makeTar([{ name: "a", content: "x".repeat(2000) }])).subarray(0, 1500),
    ],
    ["cut off inside a header", async () => (await makeTar([{ name: "a", content: "x" }])).subarray(0, 1100)],
    [
      "cut off before the end mark",
      async () => (await makeTar([{ name: "a", content: "x" }])).subarray(0, 1024),
    ],
    ["with an absurd size", async () => patched(await makeTar([{ name: "a" }]), 124, base256(2n ** 52n))],
    ["empty", async () => Buffer.alloc(0)],
  ])("says that it is truncated: %s", async (_what, make) => {
    await expect(open(await make())).rejects.toMatchObject({ code: "truncated" });
  });

  test("says how much is missing", async () => {
    const cut = (await makeTar([{ name: "a", content: "x".repeat(2000) }])).subarray(0, 1500);
    await expect(open(cut)).rejects.toThrow("1012 bytes of the entry at byte 0 are missing");
  });

  test.each([
    ["not a tar", async () => Buffer.from("{}".repeat(600))],
    [
      "a size beyond all numbers",
      async () => patched(await makeTar([{ name: "a" }]), 124, base256(2n ** 60n)),
    ],
    ["a negative size", async () => patched(await makeTar([{ name: "a" }]), 124, Buffer.alloc(12, 0xff))],
    ["a size that is no number", async () => patched(await makeTar([{ name: "a" }]), 124, "12345678901x")],
    ["a wrong checksum", async () => Buffer.from(await makeTar([{ name: "a" }])).fill("b", 0, 1)],
    ["two files of one name", () => makeTar([{ name: "config.dump" }, { name: "./config.dump" }])],
    ["a directory with a size", async () => patched(await makeTar([{ name: "a", content: "x" }]), 156, "5")],
    [
      "a bad extended header",
      async () => patched(await makeTar([{ name: "a", content: "99 path=x\n" }]), 156, "x"),
    ],
  ])("says that it is malformed: %s", async (_what, make) => {
    await expect(open(await make())).rejects.toMatchObject({ code: "malformed" });
  });

  test("refuses sparse entries", async () => {
    const gnu = patched(await makeTar([{ name: "a" }]), 156, "S");
    await expect(open(gnu)).rejects.toMatchObject({ code: "unsupported" });
    const pax = await makeTar([{ name: "a", pax: { "GNU.sparse.major": "1" } as never }]);
    await expect(open(pax)).rejects.toMatchObject({ code: "unsupported" });
  });

  test("bounds entries and names", async () => {
    const tar = await makeTar(Array.from({ length: 20 }, (_, index) => ({ name: `file-${index}` })));
    const limits = { entries: 20, header: 1000, names: 1000 };
    await expect(open(tar, limits)).resolves.toBeDefined();
    await expect(open(tar, { ...limits, entries: 19 })).rejects.toMatchObject({ code: "too-large" });
    await expect(open(tar, { ...limits, names: 100 })).rejects.toMatchObject({ code: "too-large" });
    const long = await makeTar([{ name: "n".repeat(2000) }]);
    await expect(open(long, limits)).rejects.toMatchObject({ code: "too-large" });
  });
});

describe("hostile input", () => {
  test("any bytes end in an index or an ArchiveError", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 4096 }), async (bytes) => {
        await expectOnlyArchiveErrors(open(Buffer.from(bytes)));
      }),
      { numRuns: 200 },
    );
  });

  test("a good tar with bytes changed or cut off ends in an index or an ArchiveError", async () => {
    const good = await makeTar([
      { name: "config.dump", content: "{}" },
      { name: "n".repeat(200), content: "x".repeat(700) },
      { name: "checkpoint", type: "directory" },
    ]);
    const change = fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 8 }), fc.nat(good.length), async (changes, length) => {
        const bad = Buffer.from(good.subarray(0, length));
        for (const { at, byte } of changes) if (at < length) bad[at] = byte;
        // The checksum alone would stop nearly all of it.
        const mended = length >= 512 ? patched(bad, 0, bad.subarray(0, 1)) : bad;
        await expectOnlyArchiveErrors(open(bad));
        await expectOnlyArchiveErrors(open(mended));
      }),
      { numRuns: 300 },
    );
  });

  test("what was packed is what is found", async () => {
    const name = fc.stringMatching(/^[a-zA-Z0-9_.-]{1,120}$/).filter((text) => !/^\.+$/.test(text));
    const files = fc.uniqueArray(fc.record({ name, content: fc.uint8Array({ maxLength: 1500 }) }), {
      selector: (file) => file.name,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(files, async (entries) => {
        const tar = await open(await makeTar(entries));
        expect([...tar.entries()].map((entry) => entry.name)).toEqual(entries.map((entry) => entry.name));
        for (const { name, content } of entries)
          expect(await tar.read(name, 2000)).toEqual(Buffer.from(content));
      }),
      { numRuns: 100 },
    );
  });
});

async function expectOnlyArchiveErrors(reading: Promise<unknown>): Promise<void> {
  const error = await reading.then(
    () => undefined,
    (reason) => reason,
  );
  if (error !== undefined) expect(error).toBeInstanceOf(ArchiveError);
}

/** Buffers with holes between them that take no memory. */
function holed(parts: readonly (Buffer | number)[]): Bytes {
  let end = 0;
  const placed = parts.map((part) => {
    const start = end;
    end += typeof part === "number" ? part : part.length;
    return { start, part };
  });
  return {
    name: "holed.tar",
    size: end,
    async read(offset, length) {
      const result = Buffer.alloc(length);
      for (const { start, part } of placed) {
        if (typeof part !== "number" && start < offset + length && offset < start + part.length) {
          part.copy(result, Math.max(0, start - offset), Math.max(0, offset - start));
        }
      }
      return result;
    },
  };
}
