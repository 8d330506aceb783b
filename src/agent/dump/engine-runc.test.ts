import { describe, expect, it } from "vitest";
import { DumpError } from "../../engine/error.ts";
import { archiveName, isNamed } from "../archives.ts";
import { archiveOf, engineError } from "./engine-runc.ts";

describe("an archive of engine runc", () => {
  const target = { namespace: "shop", pod: "cache-0", container: "app" };
  const name = archiveOf(target, new Date("2026-01-01T12:00:00.123Z"));

  it("is named as the kubelet names its own", () => {
    expect(archiveName.parse(name)).toBe("checkpoint-cache-0_shop-app-2026-01-01T12:00:00.123Z.tar");
    expect(isNamed(name, target)).toBe(true);
  });
});

describe("what a failed dump means", () => {
  const error = (...errors: string[]) => new DumpError("Runtime", errors.at(-1) ?? "runc failed", { errors });
  it.each([
    [
      "a socket",
      error("Error (x): Connected TCP socket, consider using --tcp-established"),
      "TcpConnectionOpen",
      0,
    ],
    ["a busy process", error("Error (x): Unseizable non-zombie 7 found, state D"), "ProcessBusy", 2],
    ["what CRIU did not say", error(), "CheckpointFailed", 2],
    ["a full disk under CRIU", error("Error (x): Can't write: No space left on device"), "DiskFull", 0],
    [
      "a disk that can only be read",
      new DumpError("Pack", "/a.tar: Read-only file system"),
      "DiskReadOnly",
      0,
    ],
    ["a full disk", new DumpError("Pack", "/a.tar: No space left on device"), "DiskFull", 0],
    ["a foreign process", new DumpError("Foreign", "process 7"), "ForeignProcess", 0],
    [
      "a dump that goes on elsewhere",
      new DumpError("Busy", "x"),
      "CheckpointFailed",
      Number.POSITIVE_INFINITY,
    ],
    ["an agent that may not", new DumpError("NoHost", "x"), "EngineUnavailable", 0],
  ])("%s", (_, cause, code, retries) => {
    expect(engineError(cause)).toMatchObject({ code, retries });
  });
});
