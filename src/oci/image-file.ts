import { randomUUID } from "node:crypto";
import { type FileHandle, lstat, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CheckpointImageConfig, encodeCheckpointImage } from "./checkpoint-image.ts";
import { describeLayer } from "./described-layer.ts";
import { blobName, encodeIndex, LAYOUT_FILE } from "./layout.ts";
import { type Descriptor, descriptorOf } from "./manifest.ts";
import { formatReference, type Reference } from "./reference.ts";
import { type BlobSource, bytesSource } from "./source.ts";

export interface ImageFileOptions {
  /** The checkpoint archive, which becomes the only layer as it is. */
  archive: BlobSource;
  config: CheckpointImageConfig;
  annotations: Readonly<Record<string, string>>;
  /** What the image is called where it is loaded. */
  reference: Reference;
  /** Where it is written: a tar when the path ends so, otherwise a directory that is made. */
  output: string;
  signal?: AbortSignal;
  /** Called with how many bytes have been read, of twice the archive's size: it is hashed, then copied. */
  onProgress?: (read: number) => void;
}

export interface ImageFile extends Descriptor {
  layer: Descriptor;
}

/**
 * Makes an image of a checkpoint archive in an OCI layout: a directory, or a tar of one, as runtimes and other tools
 * load it. The same archive and options give the same digest as `pushCheckpointImage`.
 *
 * Guarantees: `output` is there only once it is whole, and for its owner alone. Memory does not grow with the archive.
 * Errors: those of the file system, `EEXIST` for an output that is there already; the source's own; the signal's
 * reason.
 */
export async function writeCheckpointImage(options: ImageFileOptions): Promise<ImageFile> {
  const { archive, output, reference, signal, onProgress } = options;
  await assertAbsent(output);
  const { diffId, ...layer } = await describeLayer(archive, { signal, onProgress });
  const { config, manifest } = encodeCheckpointImage({ ...layer, diffId }, options);
  const image = descriptorOf(manifest);
  const files: LayoutFile[] = [
    { name: LAYOUT_FILE.name, source: bytesSource(LAYOUT_FILE.content) },
    { name: blobName(layer.digest), source: archive },
    { name: blobName(config.digest), source: bytesSource(config.bytes) },
    { name: blobName(image.digest), source: bytesSource(manifest.bytes) },
    { name: "index.json", source: bytesSource(encodeIndex({ ...image, annotations: namesOf(reference) })) },
  ];
  // A name of its own: whatever else has one like it is somebody's.
  const part = `${output}.${randomUUID().slice(0, 8)}.part`;
  let done = layer.size;
  const count = (bytes: number) => {
    signal?.throwIfAborted();
    done += bytes;
    onProgress?.(Math.min(done, 2 * layer.size));
  };
  try {
    await (output.endsWith(".tar") ? writeTar : writeDirectory)(part, files, count);
    await rename(part, output);
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw error;
  }
  return { ...image, layer };
}

async function assertAbsent(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (found) throw Object.assign(new Error(`${path}: is there already`), { code: "EEXIST", path });
}

/** By containerd's annotation for the whole name; all others take the tag from the specification's. */
function namesOf(reference: Reference): Record<string, string> {
  const { tag } = reference;
  return {
    "io.containerd.image.name": formatReference(reference),
    ...(tag !== undefined && { "org.opencontainers.image.ref.name": tag }),
  };
}

/** Whoever reads a checkpoint reads the secrets in it. */
const OWNER_ONLY = 0o600;

/** One file of an OCI layout, by its path in it. */
interface LayoutFile {
  name: string;
  source: BlobSource;
}

async function writeDirectory(path: string, files: readonly LayoutFile[], count: (bytes: number) => void) {
  for (const { name, source } of files) {
    await mkdir(dirname(join(path, name)), { recursive: true, mode: 0o700 });
    await using file = await open(join(path, name), "wx", OWNER_ONLY);
    await copy(source, file, count);
  }
}

async function writeTar(path: string, files: readonly LayoutFile[], count: (bytes: number) => void) {
  await using file = await open(path, "wx", OWNER_ONLY);
  for (const { name, source } of files) {
    await file.write(tarHeader(name, source.size));
    await copy(source, file, count);
    await file.write(Buffer.alloc((BLOCK - (source.size % BLOCK)) % BLOCK));
  }
  await file.write(Buffer.alloc(2 * BLOCK));
}

async function copy(source: BlobSource, file: FileHandle, count: (bytes: number) => void): Promise<void> {
  for await (const chunk of source.read(0)) {
    for (let written = 0; written < chunk.length; ) {
      written += (await file.write(chunk, written)).bytesWritten;
    }
    count(chunk.length);
  }
}

const BLOCK = 512;

/** A file's header: POSIX's ustar, with GNU's binary number for a size beyond 8 GiB. */
function tarHeader(name: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, digits: number) =>
    block.write(`${value.toString(8).padStart(digits, "0")}\0`, offset);
  block.write(name, 0);
  octal(0o644, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  if (size < 8 ** 11) octal(size, 124, 11);
  else {
    block[124] = 0x80;
    block.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(0, 136, 11);
  block.write("        ", 148);
  block.write("0", 156);
  block.write("ustar\x0000", 257);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  return block;
}
