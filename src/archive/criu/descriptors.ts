import type { Bytes } from "../bytes.ts";
import { ArchiveError } from "../errors.ts";
import { firstRecord, imageBatches } from "./image.ts";
import { parseMessage } from "./message.ts";

/** What a process shares with others, by the ids of images/core.proto (task_kobj_ids_entry). */
export interface KernelObjects {
  /** The F of fdinfo-F.img. */
  filesId: number;
  mountNamespaceId: number | undefined;
}

/** Reads ids-<pid>.img. Errors: `ArchiveError`. */
export async function readKernelObjects(image: Bytes): Promise<KernelObjects> {
  const ids = parseMessage(image.name, await firstRecord(image, "ids"));
  return { filesId: ids.number(2) ?? 0, mountNamespaceId: ids.number(9) };
}

/** An open descriptor (images/fdinfo.proto). */
export interface Descriptor {
  fd: number;
  /** Of files.img. */
  fileId: number;
  /** fd_types of images/fdinfo.proto. */
  type: number;
  closeOnExec: boolean;
}

const FD_CLOEXEC = 1;
const DESCRIPTOR_LIMIT = 200_000;

/** Reads fdinfo-<F>.img. Errors: `ArchiveError`. */
export async function readDescriptors(image: Bytes): Promise<Descriptor[]> {
  const descriptors: Descriptor[] = [];
  for await (const records of imageBatches(image, "fdinfo")) {
    for (const record of records) {
      const entry = parseMessage(image.name, record);
      descriptors.push({
        fd: entry.number(4) ?? 0,
        fileId: entry.number(1) ?? 0,
        type: entry.number(3) ?? 0,
        closeOnExec: ((entry.number(2) ?? 0) & FD_CLOEXEC) !== 0,
      });
    }
    if (descriptors.length > DESCRIPTOR_LIMIT) {
      throw new ArchiveError("too-large", `${image.name}: more than ${DESCRIPTOR_LIMIT} descriptors`);
    }
  }
  return descriptors.sort((a, b) => a.fd - b.fd);
}

/** Where a process stands in the file system (images/fs.proto): ids of files.img. */
export interface FileSystemContext {
  workingDirectoryId: number;
  rootId: number;
  umask: number | undefined;
}

/** Reads fs-<pid>.img. Errors: `ArchiveError`. */
export async function readFileSystemContext(image: Bytes): Promise<FileSystemContext> {
  const fs = parseMessage(image.name, await firstRecord(image, "fs"));
  return { workingDirectoryId: fs.number(1) ?? 0, rootId: fs.number(2) ?? 0, umask: fs.number(3) };
}
