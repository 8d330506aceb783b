import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { namesIn, readIfThere, writeWhole } from "./files.ts";

describe("a file that is written whole", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-files-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("is a new file each time it changes, and left alone when it does not", async () => {
    const path = join(directory, "pod", "app.json");
    expect(await writeWhole(path, "one")).toBe(true);
    const before = await stat(path);
    expect(await writeWhole(path, "one")).toBe(false);
    expect((await stat(path)).ino).toBe(before.ino);
    expect(await writeWhole(path, "two")).toBe(true);
    expect((await stat(path)).ino).not.toBe(before.ino);
    expect(await readFile(path, "utf8")).toBe("two");
    expect(await readdir(join(directory, "pod"))).toEqual(["app.json"]);
  });

  it("may not be there", async () => {
    expect(await readIfThere(join(directory, "nothing", "here"))).toBeUndefined();
    expect(await namesIn(join(directory, "nothing"))).toEqual([]);
  });
});
