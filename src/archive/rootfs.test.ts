import { buffer } from "node:stream/consumers";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { type EntrySpec, makeTar } from "../../test/support/archive.ts";
import { bufferBytes } from "./bytes.ts";
import type { Engine } from "./metadata.ts";
import { type RootfsSource, readRootfsFile, rootfsChanges } from "./rootfs.ts";
import { readTar } from "./tar.ts";

async function source(engine: Engine, entries: readonly EntrySpec[]): Promise<RootfsSource> {
  return { engine, tar: await readTar(bufferBytes("a.tar", await makeTar(entries))) };
}

const layer = (content: Uint8Array): EntrySpec => ({ name: "rootfs-diff.tar", content });
const cat = async (from: RootfsSource, path: string) =>
  (await buffer(readRootfsFile(from, path) as AsyncIterable<Buffer>)).toString();

const OF_CONTAINERD: EntrySpec[] = [
  { name: "data", type: "directory", mode: 0o755 },
  {
    name: "data/counter",
    content: "41\n",
    mode: 0o640,
    uid: 999,
    gid: 998,
    mtime: new Date(1_700_000_000e3),
  },
  { name: "data/again", type: "link", linkname: "data/counter" },
  { name: "data/link", type: "symlink", linkname: "../etc/passwd" },
  { name: "data/.wh.old" },
  { name: "etc/.wh..wh..opq" },
];

test.each([
  ["gzip", gzipSync],
  ["zstd", zstdCompressSync],
  ["plain", (tar: Buffer) => tar],
])("what containerd's layer says, %s", async (_how, compress) => {
  const from = await source("containerd", [layer(compress(await makeTar(OF_CONTAINERD)))]);
  const changes = await Array.fromAsync(rootfsChanges(from));
  const times = { uid: 0, gid: 0, mtime: 0, content: expect.any(Function) };
  const written = { type: "written", size: 0, target: "", ...times };
  expect(changes).toEqual([
    { ...written, path: "/data", kind: "directory", mode: 0o755 },
    {
      ...written,
      ...{ path: "/data/counter", kind: "file", mode: 0o640, uid: 999, gid: 998, size: 3 },
      mtime: 1_700_000_000,
    },
    { ...written, path: "/data/again", kind: "hardlink", mode: 0o644, target: "/data/counter" },
    { ...written, path: "/data/link", kind: "symlink", mode: 0o644, target: "../etc/passwd" },
    { type: "deleted", path: "/data/old" },
    { type: "emptied", path: "/etc" },
  ]);
  expect(await cat(from, "/data/counter")).toBe("41\n");
  expect(await cat(from, "data/again")).toBe("41\n");
});

test.each(["podman", "cri-o"] as const)(
  "what %s says: a plain tar, and a list of what is gone",
  async (engine) => {
    const tar = await makeTar([{ name: "./data/.wh.plain-name", content: "x" }]);
    const deleted = { name: "deleted.files", content: JSON.stringify(["/etc/motd", "tmp/a"]) };
    const from = await source(engine, [layer(tar), deleted]);
    expect(await Array.fromAsync(rootfsChanges(from))).toMatchObject([
      { type: "written", path: "/data/.wh.plain-name" },
      { type: "deleted", path: "/etc/motd" },
      { type: "deleted", path: "/tmp/a" },
    ]);
    expect(await cat(from, "/data/.wh.plain-name")).toBe("x");
  },
);

test("a container that has changed nothing", async () => {
  expect(await Array.fromAsync(rootfsChanges(await source("cri-o", [])))).toEqual([]);
  const nothing = await source("podman", [{ name: "deleted.files", content: "null" }]);
  expect(await Array.fromAsync(rootfsChanges(nothing))).toEqual([]);
});

test.each([
  ["/data/none", "has not written it"],
  ["/data/old", "has deleted it"],
  ["/data", "no file"],
  ["/data/link", "a link to ../etc/passwd"],
  ["/loop", "without an end"],
])("there is no content of %s: %s", async (path, why) => {
  const entries: EntrySpec[] = [...OF_CONTAINERD, { name: "loop", type: "link", linkname: "loop" }];
  const from = await source("containerd", [layer(gzipSync(await makeTar(entries)))]);
  await expect(cat(from, path)).rejects.toMatchObject({
    code: "missing",
    message: expect.stringContaining(why),
  });
});

test.each([
  ["a layer that is cut off", layer(gzipSync(Buffer.alloc(10_000, 1)).subarray(0, 20))],
  ["a layer that is no tar", layer(Buffer.alloc(2048, 1))],
  ["a compressed layer that is no tar", layer(gzipSync(Buffer.alloc(2048, 1)))],
  ["a list that is no JSON", { name: "deleted.files", content: "[" }],
  ["a list of other things", { name: "deleted.files", content: "[1]" }],
])("%s is malformed", async (_what, entry) => {
  const from = await source("cri-o", [entry]);
  await expect(Array.fromAsync(rootfsChanges(from))).rejects.toMatchObject({ code: "malformed" });
});

test("names of very many slashes take no time, and no stack", async () => {
  const slashes = "/".repeat(300_000);
  const gone = [`/a${slashes}b`, `${"./".repeat(3_000_000)}c${slashes}`];
  const from = await source("podman", [{ name: "deleted.files", content: JSON.stringify(gone) }]);
  const paths = (await Array.fromAsync(rootfsChanges(from))).map(({ path }) => path);
  expect(paths).toEqual([`/a${slashes}b`, "/c"]);
});
