import { rm, stat } from "node:fs/promises";
import type { Connection } from "../cluster.ts";
import { hint, type Io, print } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import { openRemote } from "./fetch.ts";
import { assertFree, partOf, save } from "./save.ts";

export interface DownloadRequest {
  /** Its name. */
  checkpoint: string;
  /** Default: the name with `.tar`. */
  file?: string | undefined;
  force: boolean;
}

/** The command `kcr download`. Errors: those of {@link openRemote} and {@link save}. */
export async function download(
  io: Io,
  { client, namespace }: Connection,
  { checkpoint: name, force, ...request }: DownloadRequest,
): Promise<void> {
  const file = request.file ?? `${name}.tar`;
  // Nothing is asked for that has no place.
  await assertFree({ file, force });
  let total = 0;
  try {
    using progress = startProgress(io, "downloading");
    progress.update({ text: "asking for it" });
    await using remote = await openRemote(client, { namespace, name }, io.signal);
    total = remote.size;
    await save(remote, {
      file,
      force,
      signal: io.signal,
      onProgress: (done, state) =>
        progress.update({
          text: state === "checking" ? "checking what is there" : `from ${remote.source}`,
          done,
          total,
        }),
    });
    await print(io, `${safe(file)}: ${size(total)} from ${safe(remote.source)}, ${remote.digest}`);
    hint(io, "", `Next: kcr inspect ${safe(file)}`);
  } catch (error) {
    const there = await stat(partOf(file)).catch(() => undefined);
    if (there?.size === 0) await rm(partOf(file), { force: true });
    if (there !== undefined && there.size > 0) {
      const of = total > 0 ? ` of ${size(total)}` : "";
      io.stderr.write(
        `${size(there.size)}${of} are in ${safe(partOf(file))}: the same command goes on from there\n`,
      );
    }
    throw error;
  }
}
