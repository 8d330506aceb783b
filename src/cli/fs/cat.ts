import { type RootfsSource, readRootfsFile } from "../../archive/rootfs.ts";
import { type Io, write } from "../io.ts";
import { safeLines } from "../output/safe.ts";

/**
 * Writes the content of one file to stdout: as it is, or, where that is a terminal, with what a terminal would
 * obey made visible. Errors: as `readRootfsFile`.
 */
export async function catFile(io: Io, source: RootfsSource, path: string): Promise<void> {
  const { stdout, signal } = io;
  const decoder = io.terminal.out ? new TextDecoder() : undefined;
  for await (const chunk of readRootfsFile(source, path, { signal })) {
    await write(stdout, decoder ? safeLines(decoder.decode(chunk, { stream: true })) : chunk, signal);
  }
}
