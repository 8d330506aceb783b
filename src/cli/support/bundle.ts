import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { pack } from "tar-stream";
import type { Item } from "./collect.ts";

/**
 * Writes files into a `.tgz`, below one directory, as they come; readable by its owner alone.
 *
 * Guarantees: the file is whole or not there. Returns the number of files.
 */
export async function writeBundle(
  file: string,
  { directory, items, now }: { directory: string; items: AsyncIterable<Item>; now: Date },
  signal: AbortSignal,
): Promise<number> {
  const half = `${file}.half`;
  const tar = pack();
  let count = 0;
  const fill = async () => {
    for await (const { path, text } of items) {
      await new Promise<void>((resolve, reject) => {
        const header = { name: `${directory}/${path}`, mode: 0o600, mtime: now };
        tar.entry(header, text, (error) => (error ? reject(error) : resolve()));
      });
      count++;
    }
    tar.finalize();
  };
  try {
    const written = pipeline(tar, createGzip(), createWriteStream(half, { mode: 0o600 }), { signal });
    await Promise.all([
      written,
      fill().catch((error: Error) => {
        tar.destroy(error);
        throw error;
      }),
    ]);
    await rename(half, file);
    return count;
  } catch (error) {
    await rm(half, { force: true });
    throw error;
  }
}
