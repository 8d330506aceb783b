import { FileSource } from "../../oci/source.ts";
import type { ArchiveStream } from "./unpack.ts";

/** An archive in a file. To be closed. Errors: those of the file system. */
export async function archiveFile(
  path: string,
  digest: string | undefined,
): Promise<ArchiveStream & AsyncDisposable> {
  const file = await FileSource.open(path);
  return {
    name: path,
    size: file.size,
    digest,
    read: () => file.read(0),
    [Symbol.asyncDispose]: () => file.close(),
  };
}
