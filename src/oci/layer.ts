import { createHash } from "node:crypto";
import type { Stats } from "node:fs";
import { createReadStream, createWriteStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { PassThrough, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { type Header, type Pack, pack as tarPack } from "tar-stream";
import type { Digest } from "./digest.ts";
import { type Descriptor, MEDIA_TYPE } from "./manifest.ts";

export interface LayerOptions {
  /** Default gzip. */
  compression?: "gzip" | "none";
  /** Where the directory's content comes to lie in the image, such as "opt/kcr"; default its root. */
  prefix?: string;
  /** Called with the path inside the directory ("usr/bin/env"); a directory that is left out is not entered. */
  filter?: (path: string, stats: Stats) => boolean;
  /** Who owns the files in the image, whoever owns them here. Default 0:0. */
  owner?: { uid: number; gid: number };
  /** Modification time of every entry, in seconds since 1970. Default 0. */
  mtime?: number;
  signal?: AbortSignal;
}

/** A layer in a file. */
export interface Layer extends Descriptor {
  path: string;
  /** The digest of the uncompressed tar, which an image's config names. */
  diffId: Digest;
}

/**
 * Writes a directory as a layer to the file `output`, in one pass.
 *
 * Guarantees: the same tree gives the same bytes: entries are in the order of their names, owner and times are
 * fixed, and gzip's header holds neither. Symbolic and hard links and modes (setuid too) are kept.
 * Caveats: extended attributes (file capabilities) and sparseness are not kept; sockets are left out.
 * Errors: those of the file system; a device node; a file that changes its size meanwhile. The output may then be
 * half-written.
 */
export async function writeLayer(
  directory: string,
  output: string,
  options: LayerOptions = {},
): Promise<Layer> {
  const { compression = "gzip", signal } = options;
  const pack = tarPack();
  const inner = tap();
  const outer = tap();
  const compress = compression === "gzip" ? createGzip() : new PassThrough();
  await Promise.all([
    pipeline(pack, inner.stream, compress, outer.stream, createWriteStream(output), { signal }),
    packTree(pack, directory, options).then(
      () => pack.finalize(),
      (error) => pack.destroy(error),
    ),
  ]);
  return {
    path: output,
    mediaType: compression === "gzip" ? MEDIA_TYPE.layerGzip : MEDIA_TYPE.layer,
    digest: outer.digest(),
    size: outer.size(),
    diffId: inner.digest(),
  };
}

/** Passes bytes on, and knows how many there were and their digest. */
function tap() {
  const hash = createHash("sha256");
  let size = 0;
  const stream = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  return { stream, size: () => size, digest: (): Digest => `sha256:${hash.digest("hex")}` };
}

type EntryHeader = Partial<Header> & { name: string };

async function packTree(pack: Pack, root: string, options: LayerOptions): Promise<void> {
  const { prefix = "", filter = () => true, owner = { uid: 0, gid: 0 }, mtime = 0, signal } = options;
  const common = { ...owner, mtime: new Date(mtime * 1000) };
  const firstNames = new Map<string, string>();

  const parents = prefix.split("/").filter((part) => part !== "");
  for (const [index] of parents.entries()) {
    const name = `${parents.slice(0, index + 1).join("/")}/`;
    await entry(pack, { ...common, name, type: "directory", mode: 0o755 });
  }
  await visit("");

  async function visit(directory: string): Promise<void> {
    const names = await readdir(join(root, directory), { encoding: "buffer" });
    for (const bytes of names.sort(Buffer.compare)) {
      signal?.throwIfAborted();
      const path = directory === "" ? bytes.toString() : `${directory}/${bytes.toString()}`;
      const source = join(root, path);
      const stats = await lstat(source);
      if (!filter(path, stats)) continue;
      const name = [...parents, path].join("/");
      const header = { ...common, name, mode: stats.mode };
      if (stats.isDirectory()) {
        await entry(pack, { ...header, name: `${name}/`, type: "directory" });
        await visit(path);
      } else if (stats.isSymbolicLink()) {
        await entry(pack, { ...header, type: "symlink", linkname: await readlink(source) });
      } else if (stats.isFile()) {
        const inode = `${stats.dev}:${stats.ino}`;
        const firstName = firstNames.get(inode);
        if (firstName !== undefined) {
          await entry(pack, { ...header, type: "link", linkname: firstName });
        } else {
          if (stats.nlink > 1) firstNames.set(inode, name);
          await file(pack, { ...header, type: "file", size: stats.size }, source);
        }
      } else if (!stats.isSocket()) {
        throw new Error(`${source}: neither a file, a directory nor a link; a layer cannot hold it`);
      }
    }
  }
}

function entry(pack: Pack, header: EntryHeader): Promise<void> {
  return new Promise((resolve, reject) => {
    pack.entry(header, (error) => (error ? reject(error) : resolve()));
  });
}

async function file(pack: Pack, header: EntryHeader, source: string): Promise<void> {
  try {
    await pipeline(createReadStream(source), pack.entry(header));
  } catch (cause) {
    throw new Error(`${source}: cannot be put into a layer: ${(cause as Error).message}`, { cause });
  }
}
