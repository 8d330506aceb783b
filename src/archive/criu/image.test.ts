import fc from "fast-check";
import { expect, test } from "vitest";
import { criuImage, message } from "../../../test/support/archive.ts";
import { bufferBytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { readArchitecture } from "./core.ts";
import { imageRecords } from "./image.ts";
import { readDumpStats } from "./stats.ts";

const COMMON = 0x54564319;
const PSTREE = 0x50273030;

async function records(image: Buffer): Promise<Buffer[]> {
  return await Array.fromAsync(imageRecords(bufferBytes("pstree.img", image), "pstree"));
}

test("gives back the messages that were framed, of any length", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 70_000, size: "max" }), { maxLength: 3 }),
      async (messages) => {
        const found = await records(criuImage([COMMON, PSTREE], messages));
        expect(found).toEqual(messages.map((bytes) => Buffer.from(bytes)));
      },
    ),
    { numRuns: 20 },
  );
});

test("refuses another kind of image, one that is cut off, and a record of an absurd length", async () => {
  await expect(records(criuImage([COMMON, 0x55053847]))).rejects.toMatchObject({ code: "malformed" });
  await expect(records(Buffer.alloc(3))).rejects.toMatchObject({ code: "malformed" });
  const image = criuImage([COMMON, PSTREE], [message({ 1: 1 })]);
  await expect(records(image.subarray(0, image.length - 1))).rejects.toMatchObject({ code: "truncated" });
  const absurd = Buffer.concat([criuImage([COMMON, PSTREE]), Buffer.alloc(4, 0xff)]);
  await expect(records(absurd)).rejects.toMatchObject({ code: "too-large" });
});

test("knows architectures by the names that images use", async () => {
  const core = (machine: number) =>
    bufferBytes("core", criuImage([COMMON, 0x55053847], [message({ 1: machine })]));
  expect(await readArchitecture(core(3))).toBe("arm64");
  expect(await readArchitecture(core(99))).toBeUndefined();
});

test("any bytes in place of a message end in numbers or an ArchiveError", async () => {
  const stats = (bytes: Uint8Array) =>
    bufferBytes("stats-dump", criuImage([0x55105940, 0x57093306], [bytes]));
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, inner) => {
      try {
        await readDumpStats(stats(inner ? message({ 1: bytes }) : bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ArchiveError);
      }
    }),
    { numRuns: 500 },
  );
});
