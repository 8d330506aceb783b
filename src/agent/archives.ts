import { lstat, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

/** File name of an archive as the kubelet makes it; a name, never a path. */
export const archiveName = z
  .string()
  .max(255)
  .regex(/^checkpoint-[A-Za-z0-9_.:+-]+\.tar$/)
  .refine((name) => !name.includes(".."));

/** What follows the names in an archive's name: the time at which the kubelet was asked, in RFC 3339. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\.tar$/;

/** One archive in the kubelet's checkpoint directory. */
export interface ArchiveFile {
  name: string;
  path: string;
  modified: Date;
}

interface Names {
  namespace: string;
  pod: string;
  container: string;
}

/** Whether the kubelet names archives of that container so. */
export const isNamed = (archive: string, names: Names): boolean => askedAt(archive, names) !== undefined;

/** When the kubelet was asked for that archive of a container, by its name; undefined for one not named so. */
export function askedAt(archive: string, { namespace, pod, container }: Names): number | undefined {
  const prefix = `checkpoint-${pod}_${namespace}-${container}-`;
  const rest = archive.slice(prefix.length);
  return archive.startsWith(prefix) && TIME.test(rest)
    ? Date.parse(rest.slice(0, -".tar".length))
    : undefined;
}

/** The kubelet's checkpoint directory, of which nothing but regular files with an archive's name are touched. */
export class Archives {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Errors: a TypeError for what is not an archive's name. */
  path(name: string): string {
    if (!archiveName.safeParse(name).success) throw new TypeError(`${JSON.stringify(name)} names no archive`);
    return join(this.directory, name);
  }

  /** The archive, or undefined where there is no regular file of that name. */
  async find(name: string): Promise<ArchiveFile | undefined> {
    const path = this.path(name);
    const stats = await lstat(path).catch(absent);
    return stats?.isFile() ? { name, path, modified: stats.mtime } : undefined;
  }

  /**
   * Archives that the kubelet may have made of a container, newest first. The names cannot be told apart safely
   * (names of pods, namespaces and containers may all hold `-`), so the archive itself must say whose it is.
   */
  async candidates(of: Names): Promise<ArchiveFile[]> {
    const names = (await readdir(this.directory).catch(absent)) ?? [];
    const found: ArchiveFile[] = [];
    for (const name of names) {
      if (!isNamed(name, of)) continue;
      const file = await this.find(name);
      if (file) found.push(file);
    }
    return found.sort((a, b) => b.modified.getTime() - a.modified.getTime());
  }

  /** All archives that are there, whoever made them. */
  async all(): Promise<ArchiveFile[]> {
    const names = (await readdir(this.directory).catch(absent)) ?? [];
    const found = await Promise.all(
      names.filter((name) => archiveName.safeParse(name).success).map((name) => this.find(name)),
    );
    return found.filter((file) => file !== undefined);
  }

  /** Removes an archive; one that is gone already is fine. */
  async remove(name: string): Promise<void> {
    await unlink(this.path(name)).catch(absent);
  }
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
  throw error;
}
