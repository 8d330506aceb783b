/**
 * Why a container was not dumped; the first nine as kcr-dump.c says them.
 *
 * - Gone: it does not run (any more)
 * - Foreign: a process that it did not start stayed in it
 * - Paused: somebody else keeps it paused
 * - NotFrozen: its processes did not stop
 * - Runtime: the runtime or CRIU failed; `errors` are the lines of CRIU's log that say so
 * - Files: what it wrote cannot be saved
 * - TooLong: it would have been paused longer than is allowed
 * - Pack: the archive could not be written
 * - NotThawed: it could not be let run on
 * - Killed: the program that dumps was killed; nothing is left of the dump
 * - Busy: another dump of it is under way
 * - Unsupported: it does not run under containerd, runc and overlayfs
 * - NoHost: this process may not do on the host what a dump takes
 */
export const DUMP_REASONS = [
  "Gone",
  "Foreign",
  "Paused",
  "NotFrozen",
  "Runtime",
  "Files",
  "TooLong",
  "Pack",
  "NotThawed",
  "Killed",
  "Busy",
  "Unsupported",
  "NoHost",
] as const;
export type DumpReason = (typeof DUMP_REASONS)[number];

/** A dump that was not made. */
export class DumpError extends Error {
  readonly reason: DumpReason;
  readonly errors: readonly string[];

  constructor(reason: DumpReason, message: string, options?: ErrorOptions & { errors?: readonly string[] }) {
    super(message, options);
    this.name = "DumpError";
    this.reason = reason;
    this.errors = options?.errors ?? [];
  }
}
