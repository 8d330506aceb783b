import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { digestOf } from "../../oci/digest.ts";
import { readLayout } from "../../oci/layout.ts";
import { EXIT } from "../exit.ts";
import { kcr } from "../testing/io.ts";

let directory: string;
let archive: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-build-"));
  archive = await writeCheckpoint(join(directory, "archive.tar"));
});
afterAll(() => rm(directory, { recursive: true }));

test("kcr build makes an image that says whose checkpoint it is", async () => {
  const output = join(directory, "layout");
  const { exit, out } = await kcr(["build", archive, "r.example/kcr/redis", "-o", output]);
  expect(exit).toBe(EXIT.done);
  const { descriptor, manifest } = await readLayout(output);
  expect(out).toContain(`r.example/kcr/redis@${descriptor.digest}`);
  expect(manifest.layers[0]?.digest).toBe(digestOf(await readFile(archive)));
  expect(manifest.annotations).toMatchObject({
    "org.criu.checkpoint.container.name": "redis",
    "io.kubernetes.cri-o.annotations.checkpoint.name": "redis",
  });
  const index = JSON.parse(await readFile(join(output, "index.json"), "utf8"));
  expect(index.manifests[0].annotations["io.containerd.image.name"]).toBe("r.example/kcr/redis:latest");
});

test("kcr build refuses a place that is taken, a damaged archive, and a name that is none", async () => {
  const taken = await kcr(["build", archive, "redis", "-o", archive]);
  expect(taken).toMatchObject({ exit: EXIT.failed, err: expect.stringContaining("FileUnwritable") });
  const damaged = await writeCheckpoint(join(directory, "damaged.tar"), {
    without: ["checkpoint/pstree.img"],
  });
  const output = join(directory, "none.tar");
  const refused = await kcr(["build", damaged, "redis", "-o", output]);
  expect(refused).toMatchObject({ exit: EXIT.failed, err: expect.stringContaining("ArchiveInvalid") });
  expect(await kcr(["build", archive, "Redis", "-o", output])).toMatchObject({ exit: EXIT.usage });
  expect(await kcr(["build", archive, `redis@sha256:${"1".repeat(64)}`, "-o", output])).toMatchObject({
    exit: EXIT.usage,
  });
  expect(await readdir(directory)).not.toContain("none.tar");
});
