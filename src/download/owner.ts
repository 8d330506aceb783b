import { ArchiveError } from "../archive/errors.ts";
import {
  engineOf,
  identityOf,
  parseConfigDump,
  parseSpecDump,
  parseStatusDump,
} from "../archive/metadata.ts";
import { CONFIG_DUMP, type CopyFile, SPEC_DUMP, STATUS_DUMP } from "../store/copy.ts";

/** What an archive says of itself is not larger. */
const METADATA_BYTES = 8 * 1024 * 1024;

/**
 * The namespace of the pod that a copy's archive is of, as the archive itself says; `name` is for messages.
 *
 * Errors: `ArchiveError`; those of `read`.
 */
export async function namespaceOf(
  name: string,
  files: readonly CopyFile[],
  read: (file: CopyFile) => AsyncIterable<Uint8Array>,
): Promise<string | undefined> {
  const config = parseConfigDump(name, await text(CONFIG_DUMP));
  const spec = parseSpecDump(name, await text(SPEC_DUMP));
  const hasStatus = files.some(({ path }) => path === STATUS_DUMP);
  const status = hasStatus ? parseStatusDump(name, await text(STATUS_DUMP)) : undefined;
  return identityOf(name, engineOf(name, spec), config, spec, status).podNamespace;

  async function text(path: string): Promise<string> {
    const file = files.find((one) => one.path === path);
    if (file === undefined) throw new ArchiveError("missing", `${name}: has no ${path}`);
    if (file.size > METADATA_BYTES)
      throw new ArchiveError("too-large", `${name}: ${path} of ${file.size} bytes`);
    return Buffer.concat(await Array.fromAsync(read(file))).toString();
  }
}
