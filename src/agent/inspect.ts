import { KcrError } from "../api/errors.ts";
import type { Archives } from "./archives.ts";

/** What kcr needs to know of an archive that is whole. */
export interface Captured {
  /** File name in the checkpoint directory. */
  name: string;
  path: string;
  sizeBytes: number;
  identity: {
    namespace: string | undefined;
    pod: string | undefined;
    container: string | undefined;
    podUID: string | undefined;
    /** The runtime's ID. */
    containerID: string | undefined;
    sandboxID: string | undefined;
  };
  /** What wrote it: containerd, cri-o. */
  engine: string;
  /** The low-level runtime, as config.dump names it. */
  runtime: string | undefined;
  /** The process's `uid:gid`. */
  user: string | undefined;
  frozenMicroseconds: number | undefined;
  rootfsImageName: string | undefined;
  rootfsImageRef: string | undefined;
}

export async function inspect(_archives: Archives, _name: string): Promise<Captured> {
  throw new Error("to be written");
}

/** For `catch`: an archive that is damaged, or still being written, is undefined; any other error stays one. */
export function unfit(error: unknown): undefined {
  if (error instanceof KcrError) return undefined;
  throw error;
}
