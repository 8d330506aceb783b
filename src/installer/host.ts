import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { writeWhole } from "../store/files.ts";

/** The host, from within a privileged container that shares its process IDs and sees its root at a path. */
export interface Host {
  /** Where its root is seen. */
  root: string;
  /** The program of enter-host.c. */
  enterHost: string;
}

/** A path of the host as this process sees it. */
export const onHost = (host: Host, path: string): string => join(host.root, path);

/**
 * Runs a program of the host in the mount namespace of one of its processes, and returns what it says.
 *
 * Errors: with the end of its standard error.
 */
export async function runOnHost(
  host: Host,
  pid: number,
  argv: readonly string[],
  { env, signal }: { env?: NodeJS.ProcessEnv; signal?: AbortSignal } = {},
): Promise<string> {
  const options = { env: env ?? {}, signal, maxBuffer: 16 << 20, timeout: 60_000 };
  try {
    return (await promisify(execFile)(host.enterHost, [`${pid}`, ...argv], options)).stdout;
  } catch (error) {
    const said = String((error as { stderr?: unknown }).stderr ?? "").trim();
    throw new Error(`${argv.join(" ")}: ${said.split("\n").slice(-3).join("; ") || error}`, { cause: error });
  }
}

/** Readable by all, as configuration is. */
export const writeForAll = (path: string, text: string, mode = 0o644): Promise<boolean> =>
  writeWhole(path, text, { mode, directoryMode: 0o755 });

/** Puts a file back to what it was: `undefined` for none. */
export async function putBack(path: string, text: string | undefined): Promise<void> {
  if (text === undefined) await rm(path, { force: true });
  else await writeForAll(path, text);
}

/** sha256 of a file's content, hexadecimal. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { signal }), hash);
  return hash.digest("hex");
}

/** Whether something is there, without following links: those of the host lead nowhere from here. */
export const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
