import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeTar } from "../../test/support/archive.ts";
import { encodeCheckpointImage } from "./checkpoint-image.ts";
import { digestOf } from "./digest.ts";
import { type ImageFileOptions, writeCheckpointImage } from "./image-file.ts";
import { readLayout } from "./layout.ts";
import { parseReference } from "./reference.ts";
import { type BlobSource, bytesSource, FileSource } from "./source.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-image-"));
});
afterEach(() => rm(directory, { recursive: true }));

const image = {
  config: { architecture: "arm64", user: "999:998" },
  annotations: { "org.criu.checkpoint.container.name": "redis" },
};

async function write(archive: BlobSource, output: string, more: Partial<ImageFileOptions> = {}) {
  const reference = parseReference("r.example/kcr/redis:one");
  return await writeCheckpointImage({
    ...image,
    archive,
    reference,
    output: join(directory, output),
    ...more,
  });
}

const archiveTar = () => makeTar([{ name: "config.dump", content: "x".repeat(700_000) }]);

test.each([
  ["plain", (tar: Buffer) => tar, "application/vnd.oci.image.layer.v1.tar"],
  ["gzip", gzipSync, "application/vnd.oci.image.layer.v1.tar+gzip"],
  ["zstd", zstdCompressSync, "application/vnd.oci.image.layer.v1.tar+zstd"],
])("an archive becomes a layout's only layer as it is: %s", async (_how, compress, mediaType) => {
  const tar = await archiveTar();
  const archive = compress(tar);
  const made = await write(bytesSource(archive), "layout");
  const layout = await readLayout(join(directory, "layout"));
  expect(layout.descriptor).toEqual({ mediaType: made.mediaType, digest: made.digest, size: made.size });
  const layer = { mediaType, digest: digestOf(archive), size: archive.length };
  expect(layout.manifest).toMatchObject({ layers: [layer], annotations: image.annotations });
  const blob = (digest: string) => readFile(join(directory, "layout/blobs", digest.replace(":", "/")));
  expect(await blob(layer.digest)).toEqual(archive);
  expect(JSON.parse((await blob(layout.manifest.config.digest)).toString())).toMatchObject({
    architecture: "arm64",
    os: "linux",
    config: { User: "999:998" },
    rootfs: { diff_ids: [digestOf(tar)] },
  });
  expect(made.digest).toBe(encodeCheckpointImage({ ...layer, diffId: digestOf(tar) }, image).manifest.digest);
});

test("as a tar it holds the same files, and names the image", async () => {
  const archive = await archiveTar();
  await writeFile(join(directory, "archive"), archive);
  await using source = await FileSource.open(join(directory, "archive"));
  const read: number[] = [];
  const made = await write(source, "image.tar", { onProgress: (bytes) => read.push(bytes) });
  expect(read.at(-1)).toBe(2 * archive.length);
  const unpacked = spawnSync("tar", ["-C", directory, "-xvf", join(directory, "image.tar")]);
  expect([unpacked.status, unpacked.stderr.toString()]).toEqual([0, ""]);
  const index = JSON.parse(await readFile(join(directory, "index.json"), "utf8"));
  expect(index.manifests).toEqual([
    {
      mediaType: made.mediaType,
      digest: made.digest,
      size: made.size,
      annotations: {
        "io.containerd.image.name": "r.example/kcr/redis:one",
        "org.opencontainers.image.ref.name": "one",
      },
    },
  ]);
  expect((await readLayout(directory)).manifest.layers).toEqual([made.layer]);
  expect(await readFile(join(directory, "blobs", made.layer.digest.replace(":", "/")))).toEqual(archive);
});

test("a size that eleven octal digits do not hold is one that tar reads", async () => {
  const size = 100 * 2 ** 30;
  const huge: BlobSource = {
    size,
    async *read() {
      yield Buffer.from("only its beginning");
    },
  };
  await write(huge, "huge.tar");
  const listed = spawnSync("tar", ["-tvf", join(directory, "huge.tar")]).stdout.toString();
  expect(listed).toContain(` ${size} `);
});

test.each(["image.tar", "layout"])(
  "what is there is not written over, and nothing half-made stays: %s",
  async (name) => {
    const archive = bytesSource(await archiveTar());
    await write(archive, name);
    await expect(write(archive, name)).rejects.toMatchObject({ code: "EEXIST" });
    let passes = 0;
    const failing: BlobSource = {
      size: archive.size,
      async *read() {
        passes += 1;
        yield Buffer.from("a beginning");
        // Once to see how it begins, once to be hashed.
        if (passes > 2) throw new Error("gone");
      },
    };
    await expect(write(failing, `other-${name}`)).rejects.toThrow("gone");
    expect(await readdir(directory)).toEqual([name]);
  },
);

test("an image is for its owner alone, for memory is in it", async () => {
  const archive = await archiveTar();
  for (const output of ["image.tar", "layout"]) {
    await write(bytesSource(archive), output);
    expect((await stat(join(directory, output))).mode & 0o077).toBe(0);
  }
});
