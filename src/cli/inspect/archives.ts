import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** The archives that are meant: a directory stands for the checkpoints in it, by their names, all else for itself. */
export async function archivesIn(named: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of named) {
    const isDirectory = await stat(name).then(
      (stats) => stats.isDirectory(),
      () => false,
    );
    if (!isDirectory) {
      found.push(name);
      continue;
    }
    const entries = await readdir(name, { withFileTypes: true });
    const archives = entries.filter(
      (entry) => entry.isFile() && /\.(?:tar|tar\.gz|tgz|tar\.zst)$/.test(entry.name),
    );
    found.push(...archives.map((entry) => join(name, entry.name)).sort());
  }
  return found;
}
