import { join } from "node:path";

/**
 * kcr's directory on a node, `/var/lib/kcr`: what the agent prepares there and what the runtime handler leaves
 * there. Both are root on that node and nobody else reads it; all the same each checks what the other wrote.
 *
 *   store/blobs/<sha256>                 files by their content; everything below copies/ is a hard link to one
 *   store/copies/<sha256 of archive>/    an unpacked checkpoint: the archive's entries, and copy.json (copy.ts)
 *   store/tmp/                           half-made copies
 *   store/incoming/<sha256 of archive>/  files of a copy that come from another node, by their content's sha256, whole
 *                                        or in part: what came stays for the next try
 *   store/clean                          there while no agent runs, if the last one ended as it should
 *   plans/<pod UID>/<container>.json     what to restore (plan.ts): the agent's
 *   plans/<pod UID>/<container>.criu     with which options of CRIU's to checkpoint (criu-options.ts): the agent's
 *   runs/<pod UID>/<container>/          which run is the newest, and how it came about (runs.ts): the handler's
 *   runs/<pod UID>/<container>/notes/    what the handler has done, a file each (notes.ts), until the agent told it
 *   runs/<pod UID>/<container>/undumped  why its last checkpoint failed (notes.ts): the handler's
 *   ids/<container ID>                   symbolic link to `<pod UID>/<container>`, as long as the container exists
 *   work/<container ID>/                 of a restore: CRIU's working directory with restore.log
 *   begun/<request UID>.json             a dump that was begun, until no archive of it can be left: the agent's
 *   dumps/<container ID>/                a direct dump that is under way (src/engine/kcr-dump.c)
 *   selftest/                            of the agent's self-test
 *   disabled                             there while the handler is being taken away: it restores nothing any more,
 *                                        and the node is not to be called ready
 */
export const DEFAULT_ROOT = "/var/lib/kcr";

/** A pod's UID as the API server makes it: also a mirror pod's, which is a hash. */
const POD_UID = /^[A-Za-z0-9-]{1,64}$/;
const CONTAINER = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const SHA256 = /^[0-9a-f]{64}$/;

export const isPodUID = (text: unknown): text is string => typeof text === "string" && POD_UID.test(text);
export const isContainerName = (text: unknown): text is string =>
  typeof text === "string" && CONTAINER.test(text);
export const isContainerID = (text: unknown): text is string =>
  typeof text === "string" && CONTAINER_ID.test(text) && !text.includes("..");
export const isSha256 = (text: unknown): text is string => typeof text === "string" && SHA256.test(text);

/** One container of one pod. */
export interface ContainerKey {
  podUID: string;
  container: string;
}

/** Paths below `root`. Errors: a TypeError for a part that is no name, so that no path leads out. */
export class Layout {
  readonly root: string;

  constructor(root: string = DEFAULT_ROOT) {
    this.root = root;
  }

  get blobs(): string {
    return join(this.root, "store", "blobs");
  }
  get copies(): string {
    return join(this.root, "store", "copies");
  }
  get tmp(): string {
    return join(this.root, "store", "tmp");
  }
  get allIncoming(): string {
    return join(this.root, "store", "incoming");
  }
  get clean(): string {
    return join(this.root, "store", "clean");
  }
  get plans(): string {
    return join(this.root, "plans");
  }
  get runs(): string {
    return join(this.root, "runs");
  }
  get ids(): string {
    return join(this.root, "ids");
  }
  get disabled(): string {
    return join(this.root, "disabled");
  }
  /** Where dumps are prepared (engine runc). */
  get dumps(): string {
    return join(this.root, "dumps");
  }
  /** Dumps that were begun, by their requests. */
  get allBegun(): string {
    return join(this.root, "begun");
  }
  get selftest(): string {
    return join(this.root, "selftest");
  }
  begun(requestUID: string): string {
    return `${join(this.allBegun, checked(isPodUID(requestUID), requestUID))}.json`;
  }
  blob(sha256: string): string {
    return join(this.blobs, checked(isSha256(sha256), sha256));
  }
  copy(sha256: string): string {
    return join(this.copies, checked(isSha256(sha256), sha256));
  }
  incoming(sha256: string): string {
    return join(this.allIncoming, checked(isSha256(sha256), sha256));
  }
  plan(key: ContainerKey): string {
    return `${this.#planned(key)}.json`;
  }
  criuOptions(key: ContainerKey): string {
    return `${this.#planned(key)}.criu`;
  }
  run({ podUID, container }: ContainerKey): string {
    return join(this.runs, checked(isPodUID(podUID), podUID), checked(isContainerName(container), container));
  }
  notes(key: ContainerKey): string {
    return join(this.run(key), "notes");
  }
  undumped(key: ContainerKey): string {
    return join(this.run(key), "undumped");
  }
  id(containerID: string): string {
    return join(this.ids, checked(isContainerID(containerID), containerID));
  }
  work(containerID: string): string {
    return join(this.root, "work", checked(isContainerID(containerID), containerID));
  }
  #planned({ podUID, container }: ContainerKey): string {
    return join(
      this.plans,
      checked(isPodUID(podUID), podUID),
      checked(isContainerName(container), container),
    );
  }
}

function checked(ok: boolean, text: string): string {
  if (!ok) throw new TypeError(`${JSON.stringify(text)} is no name of a file in kcr's directory`);
  return text;
}
