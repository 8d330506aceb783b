import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { processImages } from "../../../test/support/processes.ts";
import { EXIT } from "../exit.ts";
import { kcr } from "../testing/io.ts";

let directory: string;
let archive: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-verify-"));
  archive = await writeCheckpoint(join(directory, "archive.tar"), { more: processImages([{ pid: 1 }]) });
});
afterAll(() => rm(directory, { recursive: true }));

test("kcr verify says that an archive is whole, and by its exit code that one is not", async () => {
  const whole = await kcr(["verify", archive]);
  expect([whole.exit, whole.err]).toEqual([EXIT.done, ""]);
  expect(whole.out).toMatch(
    /^whole {2}9 images, 1 processes, 0 B of memory, 0 changed files\n {2}sha256:[0-9a-f]{64}\n$/,
  );

  const core = "checkpoint/core-1.img";
  const spec = { more: processImages([{ pid: 1 }]).filter(({ name }) => name !== core), without: [core] };
  const damaged = await kcr(["verify", await writeCheckpoint(join(directory, "damaged.tar"), spec)]);
  expect(damaged.exit).toBe(EXIT.no);
  expect(damaged.out).toMatch(/^damaged {2}.*has no process/m);

  const cut = await writeCheckpoint(join(directory, "cut.tar"));
  await truncate(cut, 3000);
  const json = await kcr(["verify", cut, "-o", "json"]);
  expect(json.exit).toBe(EXIT.no);
  expect(JSON.parse(json.out)).toEqual({
    whole: false,
    damage: [expect.stringMatching(/cut.tar: .*(?:missing|end mark)/)],
  });
});

test("what is no archive, is of another digest or not there", async () => {
  const other = await kcr(["verify", archive, "--digest", `sha256:${"1".repeat(64)}`]);
  expect(other).toMatchObject({
    exit: EXIT.no,
    out: expect.stringContaining(`not sha256:${"1".repeat(64)}`),
  });
  expect(await kcr(["verify", archive, "--digest", "sha1:1"])).toMatchObject({ exit: EXIT.usage });
  expect(await kcr(["verify", join(directory, "none.tar")])).toMatchObject({ exit: EXIT.failed });
  await writeFile(join(directory, "text"), "x".repeat(2000));
  expect(await kcr(["verify", join(directory, "text")])).toMatchObject({ exit: EXIT.no });
});
