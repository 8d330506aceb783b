import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeCheckpoint } from "../../test/support/archive.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { DIRECT_DUMP } from "./direct.ts";

describe("what an archive says of a direct dump", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-direct-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const note = { version: 1, pausedMicroseconds: 120_327, copiedBytes: 3, copyMicroseconds: 592 };
  it.each([
    ["its pause and what was copied", JSON.stringify(note), note],
    ["nothing, in a version that is not known", JSON.stringify({ ...note, version: 2 }), undefined],
    ["nothing, with a pause that is none", JSON.stringify({ ...note, pausedMicroseconds: -1 }), undefined],
    ["nothing, where it is no JSON", "{", undefined],
    ["nothing, where it is beyond all measure", `${JSON.stringify(note)}${" ".repeat(5000)}`, undefined],
    ["nothing, of one that the runtime made", undefined, undefined],
  ])("%s", async (name, content, direct) => {
    const path = join(directory, `${name.length}.tar`);
    await writeCheckpoint(path, content === undefined ? {} : { more: [{ name: DIRECT_DUMP, content }] });
    await using archive = await openCheckpoint(path);
    expect(archive.direct).toEqual(direct);
    expect(archive.isWhole).toBe(true);
  });
});
