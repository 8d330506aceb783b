import { execFileSync } from "node:child_process";
import { chmod, link, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { digestOf } from "./digest.ts";
import { buildImage } from "./image.ts";
import { writeLayer } from "./layer.ts";
import { blobPath, readLayout } from "./layout.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-layer-"));
});
afterEach(() => rm(directory, { recursive: true }));

async function tree(name: string): Promise<string> {
  const root = join(directory, name);
  const deep = join(root, "usr", "share", "d".repeat(120));
  await mkdir(deep, { recursive: true });
  await writeFile(join(deep, "long.txt"), "long");
  await writeFile(join(root, "usr", "run"), "#!/bin/sh\n");
  await chmod(join(root, "usr", "run"), 0o4755);
  await link(join(root, "usr", "run"), join(root, "usr", "walk"));
  await symlink("usr/run", join(root, "run"));
  await writeFile(join(root, "left-out"), "x");
  return root;
}

const filter = (path: string) => path !== "left-out";
const list = (tar: string) =>
  execFileSync("tar", ["--numeric-owner", "--full-time", "-tvf", tar], { env: { ...process.env, TZ: "UTC" } })
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.replace(/\s+/g, " "));

test("a layer holds files, links, modes and long names, owned by root and without times", async () => {
  const layer = await writeLayer(await tree("a"), join(directory, "layer"), { filter, compression: "none" });
  expect(layer.digest).toBe(digestOf(await readFile(layer.path)));
  expect(layer.diffId).toBe(layer.digest);
  const long = `usr/share/${"d".repeat(120)}/`;
  expect(list(layer.path)).toEqual([
    "lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 run -> usr/run",
    "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 usr/",
    "-rwsr-xr-x 0/0 10 1970-01-01 00:00:00 usr/run",
    "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 usr/share/",
    `drwxr-xr-x 0/0 0 1970-01-01 00:00:00 ${long}`,
    `-rw-r--r-- 0/0 4 1970-01-01 00:00:00 ${long}long.txt`,
    "hrwsr-xr-x 0/0 0 1970-01-01 00:00:00 usr/walk link to usr/run",
  ]);
});

test("the same tree gives the same layer, wherever and whenever it was made", async () => {
  const first = await writeLayer(await tree("a"), join(directory, "1"));
  const other = await tree("b");
  await utimes(join(other, "usr", "run"), 1, 1);
  const second = await writeLayer(other, join(directory, "2"));
  expect({ ...second, path: "" }).toEqual({ ...first, path: "" });
  expect(first.diffId).toBe(digestOf(gunzipSync(await readFile(first.path))));
});

test("a prefix puts the tree into a directory that is in the layer too", async () => {
  const layer = await writeLayer(await tree("a"), join(directory, "1"), {
    filter,
    compression: "none",
    prefix: "/opt/kcr/",
  });
  const names = list(layer.path).map((line) => line.split(" ")[5]);
  expect(names.slice(0, 4)).toEqual(["opt/", "opt/kcr/", "opt/kcr/run", "opt/kcr/usr/"]);
  expect(list(layer.path).at(-1)).toContain("opt/kcr/usr/walk link to opt/kcr/usr/run");
});

test("a device cannot be put into a layer", async () => {
  await expect(
    writeLayer("/dev", join(directory, "1"), { filter: (path) => path === "null" }),
  ).rejects.toThrow("/dev/null: neither a file, a directory nor a link");
});

test("an image's layout holds all of it, and a blob of another size is found out", async () => {
  const layer = await writeLayer(await tree("a"), join(directory, "1"));
  const layout = join(directory, "layout");
  const options = {
    layout,
    layers: [layer],
    architecture: "arm64",
    config: { entrypoint: ["/usr/run"], user: "65532" },
  };
  const built = await buildImage(options);
  expect((await buildImage(options)).descriptor).toEqual(built.descriptor);
  const read = await readLayout(layout);
  expect(read).toEqual(built);
  expect(JSON.parse(await readFile(blobPath(layout, read.manifest.config.digest), "utf8"))).toEqual({
    architecture: "arm64",
    os: "linux",
    config: { User: "65532", Entrypoint: ["/usr/run"] },
    rootfs: { type: "layers", diff_ids: [layer.diffId] },
  });
  await rm(blobPath(layout, layer.digest));
  await writeFile(blobPath(layout, layer.digest), "short");
  await expect(readLayout(layout)).rejects.toThrow("has 5 bytes");
});
