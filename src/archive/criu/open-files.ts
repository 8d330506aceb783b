import type { Bytes } from "../bytes.ts";
import { imageRecords } from "./image.ts";
import { parseMessage } from "./message.ts";

/** fd_types of images/fdinfo.proto. */
const REGULAR = 1;
/** Of st_mode; inode(7). */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
/** Of open(2): read only is 0. */
const O_ACCMODE = 0o3;
/** Of mmap(2). */
const PROT_WRITE = 2;
/** Of a vma's status: criu/include/image.h. */
const VMA_FILE_SHARED = 1 << 7;

/**
 * The regular files that dumped processes could write to, by the paths that they saw: those with a descriptor open
 * for writing, and those mapped shared and writable. `mms` are the images mm-<pid>.img.
 *
 * Sources: images/fdinfo.proto, regfile.proto, mm.proto and vma.proto; that a mapping names its file in `shmid` and
 * how it was opened in `fdflags`: dump_filemap in criu/cr-dump.c, open_filmap in criu/files-reg.c.
 * Errors: `ArchiveError`.
 */
export async function filesOpenForWriting(files: Bytes, mms: AsyncIterable<Bytes>): Promise<string[]> {
  const mapped = new Set<number>();
  for await (const mm of mms) {
    for await (const record of imageRecords(mm, "mm")) {
      for (const vma of parseMessage(mm.name, record).messages(14)) {
        const isShared = ((vma.number(7) ?? 0) & VMA_FILE_SHARED) !== 0;
        const isWritable = ((vma.number(5) ?? 0) & PROT_WRITE) !== 0 || isForWriting(vma.number(10));
        const file = vma.number(4);
        if (isShared && isWritable && file !== undefined) mapped.add(file);
      }
    }
  }
  const paths = new Set<string>();
  for await (const record of imageRecords(files, "files")) {
    const entry = parseMessage(files.name, record);
    const regular = entry.number(1) === REGULAR ? entry.message(3) : undefined;
    if (regular === undefined) continue;
    const path = regular.text(6);
    const mode = regular.number(10);
    // Devices are of this type too, and so is what CRIU was told to leave to its caller (ext).
    const isFile = mode === undefined || (mode & S_IFMT) === S_IFREG;
    const isExternal = (regular.number(9) ?? 0) !== 0;
    if (path === undefined || !isFile || isExternal) continue;
    if (isForWriting(regular.number(2)) || mapped.has(regular.number(1) ?? -1)) paths.add(path);
  }
  return [...paths].sort();
}

const isForWriting = (flags = 0): boolean => (flags & O_ACCMODE) !== 0;
