import { ArchiveError } from "../../archive/errors.ts";
import { type Verification, verifyArchive } from "../../archive/verify.ts";
import { type OpenFlags, openArchive } from "../archive/open.ts";
import { EXIT } from "../exit.ts";
import { type Io, print } from "../io.ts";
import { painter } from "../output/colour.ts";
import { type Format, show } from "../output/print.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";

/** What `-o json` shows: without all but `damage` where the archive cannot even be opened. */
type Report = { whole: boolean; damage: readonly string[] } & Partial<Verification>;

/**
 * Reads all of an archive, prints what is wrong with it, and sets exit code `no` when something is.
 *
 * Errors: those of the place; `ArchiveError` for what is no checkpoint archive at all.
 */
export async function verify(
  io: Io,
  checkpoint: string,
  flags: OpenFlags,
  { digest, format }: { digest?: string; format: Format },
): Promise<void> {
  const report = await reportOf(io, checkpoint, flags, digest);
  if (!report.whole) io.exitCode = EXIT.no;
  if (format !== "table") return await show(io, format, { columns: [], rows: [], data: report });
  const paint = painter(io);
  for (const what of report.damage) await print(io, `${paint("bad", "damaged")}  ${safe(what)}`);
  const { images = 0, processes = 0, memoryBytes = 0, changes = 0 } = report;
  if (report.digest !== undefined) {
    const read = `${images} images, ${processes} processes, ${size(memoryBytes)} of memory, ${changes} changed files`;
    await print(io, `${report.whole ? paint("good", "whole") : "read"}  ${read}`, `  ${report.digest}`);
  }
}

async function reportOf(io: Io, checkpoint: string, flags: OpenFlags, digest?: string): Promise<Report> {
  const { signal } = io;
  try {
    await using archive = await openArchive(io, checkpoint, flags);
    using progress = startProgress(io, "reading");
    const onProgress = (done: number) => progress.update({ done, total: archive.bytes.size });
    const verification = await verifyArchive(archive, { digest, signal, onProgress });
    return { whole: verification.damage.length === 0, ...verification };
  } catch (error) {
    if (!(error instanceof ArchiveError) || error.code === "unsupported") throw error;
    return { whole: false, damage: [error.message] };
  }
}
