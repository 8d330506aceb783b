import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CaptureSource } from "../../api/request.ts";
import { Layout } from "../../store/layout.ts";
import { KubeletError } from "../kubelet.ts";
import type { DumpEngine } from "./engine.ts";
import { withLog } from "./engine.ts";
import { throughHandler } from "./through-handler.ts";

const target = { namespace: "shop", pod: "cache-0", container: "app" };
const key = { podUID: "uid-1", container: "app" };
const began = new Date("2026-01-01T12:00:00Z");
const vague = new KubeletError("CheckpointFailed", "criu failed: type NOTIFY errno 0", 2);
const locked =
  "Error (criu/file-lock.c:110): Some file locks are hold by dumping tasks! You can try --file-locks";

describe("a dump of a pod of class kcr", () => {
  let layout: Layout;
  beforeEach(() => {
    layout = new Layout(mkdtempSync(join(tmpdir(), "kcr-handler-")));
  });
  afterEach(() => rmSync(layout.root, { recursive: true }));

  const source = (more: Partial<CaptureSource> = {}): CaptureSource => ({
    lineage: { podUID: "uid-1", containerID: "abc", restartCount: 0 },
    defaultContainer: "app",
    handler: "kcr",
    ...more,
  });
  const engine = (dump: () => string): DumpEngine =>
    throughHandler({ dump: async () => dump(), settled: async () => true }, layout, () => began);
  const note = (more: object = {}): void => {
    mkdirSync(dirname(layout.undumped(key)), { recursive: true });
    const undumped = { version: 1, containerID: "abc", time: began.toISOString(), errors: [locked], ...more };
    writeFileSync(layout.undumped(key), JSON.stringify(undumped));
  };
  const failing = (before: () => void = () => {}) =>
    engine(() => {
      before();
      throw vague;
    }).dump(target, source(), 60);

  it("has the options that the pod asks for written down for the handler, and only those", async () => {
    const path = layout.criuOptions(key);
    const wanting = source({ criuOptions: "file-locks ghost-limit=4096" });
    const seen = await engine(() => readFileSync(path, "utf8")).dump(target, wanting, 60);
    expect(seen).toBe("# options: file-locks ghost-limit=4096\n# --file-locks\nghost-limit 4096\n");
    await engine(() => "archive").dump(target, source(), 60);
    expect(existsSync(path)).toBe(false);
    await engine(() => "archive").dump(target, { ...wanting, handler: undefined }, 60);
    expect(existsSync(path)).toBe(false);
  });

  it("that CRIU fails at says why, by what the handler has seen of its log", async () => {
    await expect(failing(note)).rejects.toMatchObject({ code: "FileLockHeld", message: locked, retries: 0 });
  });

  it("that CRIU fails at for a reason that has no code says what CRIU said", async () => {
    const errors = ["Error (x): first", "Error (criu/cr-dump.c:1975): Dumping FAILED."];
    const said = { code: "CheckpointFailed", message: errors[1], retries: 2 };
    await expect(failing(() => note({ errors }))).rejects.toMatchObject(said);
  });

  it.each([
    ["no note", () => {}],
    ["a note of a dump before", () => note({ time: new Date(began.getTime() - 1).toISOString() })],
    ["a note of another run", () => note({ containerID: "another" })],
    ["a note that cannot be read", () => note({ errors: "x" })],
  ])("%s: the kubelet's words stay", async (_, before) => {
    await expect(failing(before)).rejects.toBe(vague);
  });
});

it("of another pod, where only the node's runtime has CRIU's log, it is said how to come by it", () => {
  const path = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc/criu-dump.log";
  const error = new KubeletError(
    "CheckpointFailed",
    `desc = criu failed: type NOTIFY errno 0 path= ${path}`,
    2,
  );
  expect(withLog(error, "node-a")).toMatchObject({
    code: "CheckpointFailed",
    retries: 2,
    message: expect.stringContaining(
      `kubectl debug node/node-a -it --image=busybox -- grep Error /host${path}`,
    ),
  });
  expect(withLog(vague, "node-a")).toBe(vague);
});
