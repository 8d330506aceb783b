import { closeSync, constants, fchmodSync, openSync, writeFileSync } from "node:fs";
import { asPartError } from "./errors.ts";
import { Tree } from "./tree.ts";

export const MARKER_VERSION = 1;
/** Where a process finds out that it was restored, in its own root file system. */
export const MARKER_PATH = "/run/kcr/restored";

/** What `/run/kcr/restored` tells the restored process, as JSON. */
export interface RestoredMarker {
  version: typeof MARKER_VERSION;
  /** The Checkpoint that it was restored from. */
  from: string;
  /** ID of the container that it runs in now. */
  to: string;
  /** The pod's name. */
  pod: string;
  /** When the state was saved, RFC 3339; how old it was then, in seconds; and when it was restored. */
  takenTime: string;
  ageSeconds: number;
  restoredTime: string;
  /** Environment variables that come from the pod's own fields and still have the values of the dump. */
  perPodEnv: string[];
}

/**
 * Writes the marker into a root file system, for everyone to read. Nothing outside of it is touched: a link in the
 * place of `/run` leaves the process without one, what else is in the way below it is replaced. A mount at `/run`
 * hides it. Errors: `PartError`.
 */
export function writeMarker(rootfs: string, marker: RestoredMarker): void {
  const parts = MARKER_PATH.split("/").slice(1);
  const parent = parts.slice(0, -1);
  try {
    using tree = new Tree(rootfs);
    if (tree.stat(parent.slice(0, 1))?.isDirectory() === false) return;
    if (tree.stat(parent)?.isDirectory() === false) tree.remove(parent);
    tree.remove(parts);
    using place = tree.at(parts, { make: true });
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = openSync(place.path, flags, 0o644);
    try {
      fchmodSync(fd, 0o644);
      writeFileSync(fd, `${JSON.stringify(marker)}\n`);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw asPartError(error, `${MARKER_PATH} cannot be written`);
  }
}
