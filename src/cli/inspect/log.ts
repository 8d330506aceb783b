import type { Bytes } from "../../archive/bytes.ts";
import type { CheckpointArchive } from "../../archive/checkpoint.ts";
import { ArchiveError } from "../../archive/errors.ts";
import { type Io, write } from "../io.ts";
import { safeLines } from "../output/safe.ts";

/** Whose log: CRIU's of the dump, or the container's own. */
export type LogOf = "dump" | "container";

/** Where the engines put the container's log; CRI-O's has no name of its own. */
const CONTAINER_LOGS = ["container.log", "ctr.log", "io.kubernetes.cri-o.LogPath"];
const CHUNK_BYTES = 256 * 1024;

/** Writes a log to stdout, as it is but for what would do something to a terminal. Errors: `ArchiveError` `missing`. */
export async function printLog(io: Io, { tar }: Pick<CheckpointArchive, "tar">, of: LogOf): Promise<void> {
  const names = of === "dump" ? ["dump.log"] : CONTAINER_LOGS;
  const log = names.map((name) => tar.open(name)).find((found): found is Bytes => found !== undefined);
  if (log === undefined) {
    const what = of === "dump" ? "CRIU's log of the dump" : "the container's log";
    throw new ArchiveError("missing", `${tar.bytes.name}: does not hold ${what}; engines may leave it out`);
  }
  const decoder = new TextDecoder();
  let last = "";
  for (let at = 0; at < log.size; at += CHUNK_BYTES) {
    const chunk = await log.read(at, Math.min(CHUNK_BYTES, log.size - at));
    const text = safeLines(decoder.decode(chunk, { stream: true }));
    last = text.at(-1) ?? last;
    await write(io.stdout, text, io.signal);
  }
  const rest = safeLines(decoder.decode());
  await write(io.stdout, (rest.at(-1) ?? last) === "\n" || log.size === 0 ? rest : `${rest}\n`, io.signal);
}
