import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { imageBatches } from "./image.ts";
import { parseMessage } from "./message.ts";

/** A mount of a mount namespace, as the processes in it see it (images/mnt.proto). Strings of strangers. */
export interface Mount {
  id: number;
  parentId: number;
  mountPoint: string;
  /** Of what is mounted, the part that is seen. */
  root: string;
  /** `proc`, `tmpfs` ... */
  type: string;
  source: string;
  options: string;
  /** Put there from outside the container. */
  isExternal: boolean;
}

/** fstype of images/mnt.proto; others give their name. */
const TYPES: Readonly<Record<number, string>> = {
  1: "proc",
  2: "sysfs",
  3: "devtmpfs",
  4: "binfmt_misc",
  5: "tmpfs",
  6: "devpts",
  7: "simfs",
  8: "pstore",
  9: "securityfs",
  10: "fusectl",
  11: "debugfs",
  12: "cgroup",
  13: "aufs",
  14: "mqueue",
  15: "fuse",
  17: "overlay",
  18: "autofs",
  19: "tracefs",
  23: "cgroup2",
};

const MOUNT_LIMIT = 100_000;

/** Reads mountpoints-<namespace>.img. Errors: `ArchiveError`. */
export async function readMounts(image: Bytes): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for await (const records of imageBatches(image, "mounts")) {
    for (const record of records) {
      const mount = parseMessage(image.name, record);
      mounts.push({
        id: mount.number(2) ?? 0,
        parentId: mount.number(4) ?? 0,
        mountPoint: `/${(mount.text(7) ?? "").replace(/^\.?\/*/, "")}`,
        root: mount.text(6) ?? "",
        type: mount.text(14) ?? TYPES[mount.number(1) ?? 0] ?? "",
        source: mount.text(8) ?? "",
        options: mount.text(9) ?? "",
        isExternal: mount.flag(13) || mount.text(18) !== undefined,
      });
    }
    if (mounts.length > MOUNT_LIMIT) {
      throw new ArchiveError("too-large", `${image.name}: more than ${MOUNT_LIMIT} mounts`);
    }
  }
  return mounts;
}
