import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openCheckpoint } from "../../src/archive/checkpoint.ts";
import { checkpointEntries, hole, makeTar, randomContent, writeCheckpoint } from "./archive.ts";

let path: string;
beforeEach(async () => {
  path = join(await mkdtemp(join(tmpdir(), "kcr-archive-")), "archive.tar");
});
afterEach(() => rm(join(path, ".."), { recursive: true }));

test("an archive in a file is byte for byte the tar, also where it has holes", async () => {
  const spec = { pages: Buffer.concat([Buffer.alloc(5000, 1), Buffer.alloc(2 ** 20), Buffer.from("end")]) };
  await writeCheckpoint(path, spec);
  expect(await readFile(path)).toEqual(await makeTar(checkpointEntries(spec)));
});

test("an archive with a hole of more than 8 GiB is whole and takes next to no disk", async () => {
  const size = 9 * 2 ** 30;
  await using archive = await openCheckpoint(await writeCheckpoint(path, { pages: hole(size) }));
  expect(archive.problems).toEqual([]);
  expect(archive.tar.open("checkpoint/pages-1.img")?.size).toBe(size);
  expect((await stat(path)).blocks * 512).toBeLessThan(2 ** 20);
});

test("random pages have the size that was asked for, and are random", async () => {
  const size = 2 ** 20 + 1;
  await using archive = await openCheckpoint(await writeCheckpoint(path, { pages: randomContent(size) }));
  const pages = await archive.tar.read("checkpoint/pages-1.img", size);
  expect(pages).toHaveLength(size);
  expect(new Set(pages.subarray(-100_000)).size).toBe(256);
});

test("content that cannot be made ends the writing with its error", async () => {
  const pages = {
    size: 10,
    chunks: () => {
      throw new Error("no more bytes");
    },
  };
  await expect(writeCheckpoint(path, { pages })).rejects.toThrow("no more bytes");
});
