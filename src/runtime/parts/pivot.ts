import { chmodSync, mkdirSync } from "node:fs";
import { asPartError } from "./errors.ts";
import { Tree, toRaw } from "./tree.ts";

/**
 * CRIU changes its root by way of the directory `tmp` of the new one (`cr_pivot_root` in its mount.c), and makes
 * one where there is none: in a root that is read-only by then it cannot. So there is one from here on.
 *
 * Errors: `PartError`.
 */
export function makePivotPlace(rootfs: string): void {
  const parts = [toRaw("tmp")];
  try {
    using tree = new Tree(rootfs);
    if (tree.stat(parts) !== undefined) return;
    using place = tree.at(parts);
    mkdirSync(place.path);
    chmodSync(place.path, 0o1777);
  } catch (error) {
    throw asPartError(error, "the root file system cannot be prepared");
  }
}
