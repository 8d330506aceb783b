import { type FSWatcher, readdirSync, watch } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../kube/log.ts";

/**
 * Tells of what changes in a directory and in the directories below it, so many levels deep, until disposed of.
 * `onChange` is given the path of what changed, its parts below `root`; at first everything there is.
 *
 * Caveats: where the system has no more room for watches it says so in the log and tells nothing: whoever uses it
 * looks by itself every now and then.
 */
export function watchTree(
  root: string,
  depth: number,
  onChange: (path: readonly string[]) => void,
  log: Logger,
): Disposable {
  const watchers = new Map<string, FSWatcher>();

  const drop = (path: string): void => {
    for (const [watched, watcher] of watchers) {
      if (watched !== path && !watched.startsWith(`${path}/`)) continue;
      watcher.close();
      watchers.delete(watched);
    }
  };

  const enter = (parts: readonly string[]): void => {
    const path = join(root, ...parts);
    try {
      const watcher = watch(path, (_, name) => name !== null && changed([...parts, name]));
      watcher.on("error", () => drop(path));
      watchers.set(path, watcher);
    } catch (err) {
      log.warn({ path, err }, "a directory cannot be watched");
    }
    // After the watch has begun, so that nothing is missed in between.
    for (const name of namesIn(path) ?? []) changed([...parts, name]);
  };

  const changed = (parts: readonly string[]): void => {
    onChange(parts);
    if (parts.length > depth) return;
    const path = join(root, ...parts);
    if (namesIn(path) === undefined) drop(path);
    else if (!watchers.has(path)) enter(parts);
  };

  enter([]);
  return { [Symbol.dispose]: () => drop(root) };
}

/** Undefined for what is no directory, or is gone. */
function namesIn(path: string): string[] | undefined {
  try {
    return readdirSync(path);
  } catch {
    return undefined;
  }
}
