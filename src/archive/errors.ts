/**
 * - truncated: the file ends before what it announces
 * - malformed: it is not what it should be
 * - unsupported: well formed, but of a kind that is not read
 * - too-large: past a limit that keeps memory and time bounded
 * - missing: an entry that every checkpoint has is not there
 */
export type ArchiveErrorCode = "truncated" | "malformed" | "unsupported" | "too-large" | "missing";

/** Something is wrong with an archive. The message names the file, and the entry in it. */
export class ArchiveError extends Error {
  readonly code: ArchiveErrorCode;

  constructor(code: ArchiveErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ArchiveError";
    this.code = code;
  }
}
