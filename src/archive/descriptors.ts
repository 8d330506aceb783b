import {
  type Descriptor,
  readDescriptors,
  readFileSystemContext,
  readKernelObjects,
} from "./criu/descriptors.ts";
import type { FileTable, OpenFile } from "./criu/files.ts";
import { needImage } from "./criu/image.ts";
import { type Mount, readMounts } from "./criu/mounts.ts";
import type { Tar } from "./tar.ts";

/** A descriptor with what it was opened on. */
export interface OpenDescriptor extends Descriptor {
  file: OpenFile;
}

/** What a process had open, and where it stood. */
export interface ProcessFiles {
  /** By their numbers. */
  descriptors: readonly OpenDescriptor[];
  /** Paths as the process saw them; undefined when the images do not say. */
  workingDirectory: string | undefined;
  root: string | undefined;
  umask: number | undefined;
}

/**
 * What a process that was alive or stopped had open; `files` is all that was open in the checkpoint.
 *
 * Errors: `ArchiveError`: `missing` when the archive does not hold its descriptors.
 */
export async function readProcessFiles(tar: Tar, pid: number, files: FileTable): Promise<ProcessFiles> {
  const { filesId } = await readKernelObjects(needImage(tar, `ids-${pid}.img`));
  const descriptors = await readDescriptors(needImage(tar, `fdinfo-${filesId}.img`));
  const context = await readFileSystemContext(needImage(tar, `fs-${pid}.img`));
  const path = (id: number) => {
    const file = files.get(id);
    return file?.kind === "regular" ? file.path : undefined;
  };
  return {
    descriptors: descriptors.map((descriptor) => {
      const { fileId: id, type } = descriptor;
      return { ...descriptor, file: files.get(id) ?? { id, kind: "unknown", type } };
    }),
    workingDirectory: path(context.workingDirectoryId),
    root: path(context.rootId),
    umask: context.umask,
  };
}

/** What was mounted where a process saw it; undefined when it had no mount namespace of its own container. */
export async function readProcessMounts(tar: Tar, pid: number): Promise<Mount[] | undefined> {
  const { mountNamespaceId } = await readKernelObjects(needImage(tar, `ids-${pid}.img`));
  const image = tar.open(`checkpoint/mountpoints-${mountNamespaceId}.img`);
  return image && (await readMounts(image));
}
