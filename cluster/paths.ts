import { homedir } from "node:os";
import { join } from "node:path";

/** Where things that can be made again are kept between runs: binaries, root file systems, images. */
export function cacheDir(...parts: string[]): string {
  return join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "kcr", ...parts);
}

/** Where a cluster keeps its data. One directory per cluster name, on a real file system (not overlay, tmpfs). */
export function clustersDir(): string {
  return process.env["KCR_CLUSTER_DIR"] || "/var/lib/kcr-cluster";
}

/** This folder's own files (the Go modules, the node's files). */
export const clusterSource = import.meta.dirname;

/** What lives no longer than the machine is up: network namespaces, process numbers. */
export function runDir(...parts: string[]): string {
  return ["/run/kcr-cluster", ...parts].join("/");
}
