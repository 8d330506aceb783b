/**
 * What CRIU failed at, by the errors of its log. The texts are those of CRIU 4.2's sources (`pr_err`, `pr_perror`),
 * which its older and newer versions share; the first line that is known decides, for what follows it is mostly
 * its consequence.
 */
export const CRIU_FAILURES = [
  ["TcpConnectionOpen", /Connected TCP socket/],
  [
    "UnixSocketExternal",
    /External socket is used|unix: .*(?:external|Can't dump half of (?:dgram|stream) unix)/i,
  ],
  ["FileLockHeld", /Some file locks are hold/],
  ["IoUringInUse", /io_uring/],
  [
    "DeviceInUse",
    /Can't dump file \d+ of that type \[2\d{4}\]|chr (?:195|226|234|235|236|237|238|239|507|508|509|510|511):/,
  ],
  ["FileUnsupported", /Can't dump file \d+ of that type|Unknown shit|Can't find type for|create link remap/],
  ["DeletedFileTooLarge", /Can't dump ghost file/],
  ["FileChanged", /File .* has bad (?:size|mode)/],
  ["FileMissing", /Can't open file .* on restore|Can't open file .*: No such file/],
  ["MountMissing", /No mapping for .* mountpoint|Can't lookup mount=/],
  [
    "CpuDiffers",
    /CPU (?:instruction )?capabilities do not match|CPU xsave|CPU xfeatures|FPU feature required|CPU Feature .* required/,
  ],
  ["KernelTooOld", /kernel (?:lacks|doesn't support|don't)|old kernel|rseq: can't restore/],
  ["CriuTooOld", /sockets: Can't get \d+:\d+ opt|vdso: .*(?:Unexpected|Failed)|Unexpected rt vDSO/i],
  ["SeccompUnsupported", /seccomp/],
  ["UserNamespaceUnsupported", /userns|usernsd/],
  ["LimitsUnreadable", /rlimit/],
  ["ProcessBusy", /Unseizable|SEIZE \d+: can't|Timeout reached/],
  ["PidTaken", /Pid \d+ do not match expected/],
  ["NoMemory", /Cannot allocate memory|Out of memory/],
  ["DiskFull", /No space left on device/],
] as const satisfies readonly (readonly [string, RegExp])[];

export type CriuFailureCode = (typeof CRIU_FAILURES)[number][0];

export interface CriuFailure {
  code: CriuFailureCode;
  /** The line by which it is known, without CRIU's time and process. */
  line: string;
}

/** Errors that a dump or restore survives, and that say nothing about why another failed. */
const HARMLESS =
  /rlimit: Can't setup RLIMIT_NOFILE for self|cgroupd: recv req error|Unlock network|net: Unlock/;
const LINE_LENGTH = 300;

/** A line of CRIU's log without its time and process: `Error (criu/files-reg.c:2175): File x has bad size ...`. */
export const bareLine = (line: string): string =>
  line.replace(/^\([0-9.]+\) *(?:[0-9]+: *)?/, "").slice(0, LINE_LENGTH);

/** The errors in a piece of log, oldest first, less those that do not matter. */
export const errorLines = (text: string): string[] =>
  text
    .split("\n")
    .filter((line) => /Error \(/.test(line) && !HARMLESS.test(line))
    .map(bareLine);

/** Why CRIU failed, by the errors of its log; undefined when none of them is known. */
export function failureOf(lines: readonly string[]): CriuFailure | undefined {
  for (const line of lines) {
    if (HARMLESS.test(line)) continue;
    const known = CRIU_FAILURES.find(([, pattern]) => pattern.test(line));
    if (known !== undefined) return { code: known[0], line };
  }
  return undefined;
}
