import { describe, expect, it } from "vitest";
import { CRIU_FAILURES, errorLines, failureOf } from "./failures.ts";

/** Lines as CRIU 4.2 writes them. */
const LINES: [string, string][] = [
  [
    "TcpConnectionOpen",
    "(00.012345) Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.",
  ],
  [
    "UnixSocketExternal",
    "(00.1) Error (criu/sk-unix.c:874): unix: External socket is used. Consider using --ext-unix-sk option.",
  ],
  [
    "FileLockHeld",
    "(00.1) Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks to dump them.",
  ],
  [
    "IoUringInUse",
    "(00.1) Error (criu/files-ext.c:94): Can't dump file 7 of that type [600] (unknown anon_inode:[io_uring])",
  ],
  ["DeviceInUse", "(00.1) Error (criu/files-ext.c:94): Can't dump file 9 of that type [20666] (chr 195:255)"],
  [
    "FileUnsupported",
    "(00.1) Error (criu/files-ext.c:94): Can't dump file 3 of that type [600] (unknown /[secretmem])",
  ],
  [
    "FileUnsupported",
    "(00.1) Error (criu/files-reg.c:1320): Can't create link remap for /tmp/x. Use link-remap option.",
  ],
  [
    "DeletedFileTooLarge",
    "(00.1) Error (criu/files-reg.c:1031): Can't dump ghost file /tmp/x of 2097152 size, increase limit",
  ],
  ["FileChanged", "(00.1)     12: Error (criu/files-reg.c:2175): File v/data has bad size 12 (expect 10)"],
  [
    "FileMissing",
    "(00.1)      1: Error (criu/files-reg.c:2353): Can't open file tmp/gone on restore: No such file or directory",
  ],
  ["MountMissing", "(00.1) Error (criu/mount.c:3141): mnt: No mapping for 512:/data mountpoint"],
  [
    "CpuDiffers",
    "(00.1) Error (criu/arch/x86/cpu.c:223): cpu: CPU instruction capabilities do not match run time",
  ],
  [
    "SeccompUnsupported",
    "(00.1) Error (compel/src/lib/ptrace.c:27): suspending seccomp failed: Operation not permitted",
  ],
  ["UserNamespaceUnsupported", "(00.1) Error (criu/namespaces.c:1501): failed to start usernsd"],
  ["CriuTooOld", "(00.1) Error (criu/sockets.c:90): sockets: Can't get 1:16 opt"],
  ["LimitsUnreadable", "(00.1) Error (criu/cr-dump.c:388): Can't get rlimit 7: Operation not permitted"],
  [
    "ProcessBusy",
    "(00.1) Error (compel/src/lib/infect.c:418): Unseizable non-zombie 31 found, state D, err 0/0",
  ],
  ["PidTaken", "(00.1)     12: Error (criu/cr-restore.c:1539): Pid 44 do not match expected 12"],
  ["DiskFull", "(00.1) Error (criu/page-xfer.c:280): page-xfer: Unable to write: No space left on device"],
];

describe("an error of CRIU", () => {
  it.each(LINES)("is told as %s", (code, line) => {
    expect(failureOf(errorLines(line))?.code).toBe(code);
  });

  it("is the first that is known: what follows is its consequence", () => {
    const log = [
      "(00.000022) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted",
      "(00.1) Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.",
      "(00.1) Error (criu/cr-dump.c:1545): Dump files (pid: 5697) failed with -1",
      "(00.2) Error (criu/cr-dump.c:1975): Dumping FAILED.",
    ];
    expect(failureOf(errorLines(log.join("\n")))).toEqual({
      code: "TcpConnectionOpen",
      line: "Error (criu/sk-inet.c:200): inet: Connected TCP socket, consider using --tcp-established option.",
    });
  });

  it("that is not known has no code of its own", () => {
    expect(failureOf(errorLines("(00.2) Error (criu/cr-dump.c:1975): Dumping FAILED."))).toBeUndefined();
    expect(failureOf(errorLines("(00.2) Warn  (criu/x.c:1): Connected TCP socket"))).toBeUndefined();
  });
});

it("no code stands in the list twice", () => {
  const codes = CRIU_FAILURES.map(([code]) => code);
  expect(new Set(codes).size).toBe(codes.length);
});
