/** Those of kcr's error codes (src/api/errors.ts) that the parts of a restore can end with. */
export type PartErrorCode =
  | "CopyCorrupt"
  | "ArchiveInvalid"
  | "DiskFull"
  | "ProtocolUnknown"
  | "RestoreFailed";

/** Why one step of a restore cannot be done. The message names the file. */
export class PartError extends Error {
  readonly code: PartErrorCode;
  /** The copy on this node is damaged: it is to be marked, and made anew. */
  readonly corrupt: boolean;

  constructor(code: PartErrorCode, message: string, options: ErrorOptions & { corrupt?: boolean } = {}) {
    super(message, options);
    this.name = "PartError";
    this.code = code;
    this.corrupt = options.corrupt ?? false;
  }
}

/** The code of an error of the operating system, such as ENOENT; undefined for any other value. */
export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

const NO_ROOM: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

/** As a `PartError`, whose cause it becomes; the signal's own reason and what is one already stay as they are. */
export function asPartError(error: unknown, doing: string, signal?: AbortSignal): unknown {
  if (error instanceof PartError || (signal?.aborted && error === signal.reason)) return error;
  const code = NO_ROOM.has(errnoOf(error)) ? "DiskFull" : "RestoreFailed";
  const why = error instanceof Error ? error.message : String(error);
  return new PartError(code, `${doing}: ${why}`, { cause: error });
}
