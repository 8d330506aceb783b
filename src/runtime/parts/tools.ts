import { spawnSync } from "node:child_process";
import type { Tools } from "./extract.ts";

/** How kcr-runtime.c says that there are no such attributes there. */
const NONE = 2;
/** Of the 128 KiB that an argument may have two are taken by each byte. */
const MAX_VALUE = 60_000;

/** What Node cannot do itself, done by kcr-runtime: many nodes have no programs for it. */
export function toolsOf(program: string): Tools {
  const run = (...args: string[]): number | null => {
    const { status, stderr, error } = spawnSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    if (error) throw error;
    if (status === 0 || status === NONE) return status;
    throw new Error(stderr.toString("utf8").trim() || `${args[0]}: exit code ${status}`);
  };
  return {
    makeNode(path, type, major, minor) {
      run("--kcr-mknod", path, type === "fifo" ? "p" : type.slice(0, 1), String(major), String(minor));
    },
    setAttribute: (path, name, value) =>
      value.length <= MAX_VALUE && run("--kcr-setxattr", path, name, value.toString("hex")) === 0,
  };
}
