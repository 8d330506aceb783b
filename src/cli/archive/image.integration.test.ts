import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { randomContent, writeCheckpoint } from "../../../test/support/archive.ts";
import { startRegistry, type TestRegistry } from "../../../test/support/registry.ts";
import { EXIT } from "../exit.ts";
import { kcr, testIo } from "../testing/io.ts";

let directory: string;
let registry: TestRegistry;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-image-"));
  registry = await startRegistry();
});
afterAll(async () => {
  await registry?.stop();
  await rm(directory, { recursive: true });
});

const run = (...args: string[]) => kcr([...args, "--plain-http"], testIo({ env: { HOME: directory } }));

/** Pushes an archive; returns its image by digest. */
async function pushed(path: string, name: string): Promise<string> {
  const { exit, out, err } = await run("push", "-q", path, `${registry.address}/kcr/${name}`);
  expect([exit, err]).toEqual([EXIT.done, ""]);
  return out.trim();
}

test("a checkpoint image is read where it lies, as its archive is", async () => {
  const pages = randomContent(20 * 2 ** 20);
  const path = await writeCheckpoint(join(directory, "large.tar"), { pages });
  const reference = await pushed(path, "large");
  const [ours, image] = await Promise.all([
    kcr(["inspect", path, "--stats", "-o", "json"]),
    run("inspect", reference, "--stats", "-o", "json"),
  ]);
  expect([image.exit, image.err]).toEqual([EXIT.done, ""]);
  expect(JSON.parse(image.out)).toEqual({ ...JSON.parse(ours.out), archive: reference });
  // Of the pages in the middle hardly anything was asked for.
  const asked = [...(await registry.log()).matchAll(/GET \S+\/large\/blobs\/\S+ HTTP\/1.1" 20[06] (\d+)/g)];
  const bytes = asked.reduce((sum, [, length]) => sum + Number(length), 0);
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(5 * 2 ** 20);
});

test("an image of a compressed archive is read, too", async () => {
  const path = join(directory, "archive.tar.gz");
  await writeFile(path, gzipSync(await readFile(await writeCheckpoint(join(directory, "archive.tar")))));
  const { exit, out } = await run("inspect", await pushed(path, "compressed"));
  expect([exit, out.split("\n")[0]]).toEqual([EXIT.done, "default/redis-0/redis"]);
});

test("an image that is not there is an error that says so", async () => {
  const { exit, err } = await run("inspect", `${registry.address}/kcr/none@sha256:${"0".repeat(64)}`);
  expect(exit).toBe(EXIT.failed);
  expect(err).toMatch(/kcr\/none: .*404/);
});
