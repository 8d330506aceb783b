import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COPY_VERSION, HANDLER_NOTE, VOLUMES } from "../../src/store/copy.ts";
import { Layout } from "../../src/store/layout.ts";
import { PLAN_VERSION, type Plan } from "../../src/store/plan.ts";
import { formatLast, LAST } from "../../src/store/runs.ts";
import { goodConfig, POD_UID } from "../fuzz/create-case.ts";
import { buildHandler, makeHome } from "../fuzz/handler-home.ts";
import { makeTar } from "../support/archive.ts";
import { waitFor } from "../support/wait-for.ts";

/** The handler killed in the middle of a restore, as the shim does when the kubelet has waited for long enough. */

const ID = "c0ffee".repeat(8);
const key = { podUID: POD_UID, container: "main" };
const sha256 = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");

/**
 * In the real runtime's place: a restore that does not end, with the mounts that runc makes for it, and a delete that
 * removes all it finds, as runc does with a container that it does not know.
 */
const RUNTIME = `#!/bin/sh
own=$KCR_TEST/runc/${ID}
for word; do
  case $word in
    restore)
      mkdir -p "$own/criu-root"
      mount --bind "$KCR_TEST/bundle/rootfs" "$own/criu-root"
      mount --bind "$KCR_TEST/precious" "$KCR_TEST/bundle/rootfs/mnt"
      mount --bind "$KCR_TEST/precious" "$own/criu-root/mnt"
      [ -e "$KCR_TEST/criu" ] && sleep 601 &
      touch "$KCR_TEST/restoring"
      exec sleep 600 ;;
    delete) rm -rf "$own" ;;
    create) touch "$KCR_TEST/created" ;;
  esac
done
`;

let root: string;
let layout: Layout;
let program: string;
const rootfs = (): string => join(root, "bundle/rootfs");
const volume = (): string => join(root, `kubelet/pods/${POD_UID}/volumes/kubernetes.io~empty-dir/data`);

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "kcr-killed-"));
  layout = new Layout(join(root, "state"));
  writeFileSync(join(root, "runtime"), RUNTIME, { mode: 0o755 });
  program = await makeHome(join(root, "home"), await buildHandler(root), {
    runtime: join(root, "runtime"),
    state: layout.root,
    restore_seconds: "3",
  });
  put(join(root, "precious/file"), "kept");
  mkdirSync(join(root, "lower/mnt"), { recursive: true });
  const mounts = [{ destination: "/data", type: "bind", source: volume(), options: ["rbind", "rw"] }];
  const config = JSON.stringify({ ...goodConfig(), mounts });
  put(join(root, "bundle/config.json"), config);
  put(join(volume(), "file"), "of now");
  for (const name of ["bundle/rootfs", "lower", "upper", "work"])
    mkdirSync(join(root, name), { recursive: true });
  const overlay = ["lower", "upper", "work"].map((name) => `${name}dir=${join(root, name)}`).join(",");
  spawnSync("mount", ["-t", "overlay", "overlay", "-o", overlay, rootfs()]);
  const candidate = {
    checkpoint: "c1",
    uid: "uid-1",
    copy: await makeCopy(config),
    takenTime: "2026-01-01T00:00:00Z",
    containerID: "run-1",
  };
  const plan: Plan = {
    version: PLAN_VERSION,
    ...key,
    namespace: "default",
    pod: "web",
    run: "run-1",
    onFailure: true,
    fallback: "FreshStart",
    onSpecChange: "Fresh",
    volumes: "Capture",
    maxAttempts: 3,
    stableSeconds: 30,
    perPodEnv: [],
    candidates: [candidate],
  };
  put(layout.plan(key), JSON.stringify(plan));
  put(join(layout.run(key), LAST), formatLast({ id: "run-1", sandbox: "box-1", createdMs: 1 }));
});
afterEach(() => {
  for (const path of [join(root, "runc", ID, "criu-root"), rootfs()]) spawnSync("umount", ["-l", path]);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(root);
  rmSync(root, { recursive: true, force: true });
});

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

async function makeCopy(config: string): Promise<string> {
  const archive = sha256("archive");
  const note = {
    version: 1,
    node: "another",
    lowerDirectories: [],
    captured: [{ name: "data", destination: "/data" }],
    left: [],
  };
  const contents: Record<string, Uint8Array | string> = {
    "spec.dump": config,
    "checkpoint/inventory.img": "inventory",
    [HANDLER_NOTE]: JSON.stringify(note),
    [VOLUMES]: await makeTar([
      { name: "data/", type: "directory" },
      { name: "data/file", content: "of the checkpoint" },
    ]),
  };
  const files = Object.entries(contents).map(([path, content]) => {
    mkdirSync(dirname(join(layout.copy(archive), path)), { recursive: true });
    writeFileSync(join(layout.copy(archive), path), content);
    return { path, size: Buffer.byteLength(content), sha256: sha256(content) };
  });
  const index = {
    version: COPY_VERSION,
    archive,
    engine: "containerd",
    files,
    openForWriting: [],
    mounts: [],
  };
  writeFileSync(join(layout.copy(archive), "copy.json"), JSON.stringify(index));
  return archive;
}

/** Processes that were given this test's directory. */
const processes = (): number[] =>
  readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      try {
        return (
          pid !== process.pid && readFileSync(`/proc/${pid}/environ`, "utf8").includes(`KCR_TEST=${root}`)
        );
      } catch {
        return false;
      }
    });

const call = (): ChildProcess => {
  const argv = ["--root", join(root, "runc"), "create", "--bundle", join(root, "bundle"), ID];
  return spawn(program, argv, { env: { PATH: process.env["PATH"], KCR_TEST: root }, stdio: "ignore" });
};

describe.skipIf(process.getuid?.() !== 0)("a restore that is ended from outside", { timeout: 60_000 }, () => {
  test("with its caller: nothing of it lives on, and volumes are what they were once the container is deleted", async () => {
    const handler = call();
    const ended = once(handler, "exit");
    await waitFor("the restore to begin", () => existsSync(join(root, "restoring")), { intervalMs: 20 });
    expect(readFileSync(join(volume(), "file"), "utf8")).toBe("of the checkpoint");

    handler.kill("SIGKILL");
    await ended;
    await waitFor("all of it to end", () => processes().length === 0);

    const env = { PATH: process.env["PATH"], KCR_TEST: root };
    expect(spawnSync(program, ["--root", join(root, "runc"), "delete", "--force", ID], { env }).status).toBe(
      0,
    );
    expect(readdirSync(volume())).toEqual(["file"]);
    expect(readFileSync(join(volume(), "file"), "utf8")).toBe("of now");
    expect(readdirSync(join(root, "precious"))).toEqual(["file"]);
    expect(existsSync(layout.work(ID))).toBe(false);
  });

  test("for it lasts too long: the container begins afresh, and volumes are what they were", async () => {
    put(join(root, "criu"), "");
    const [code] = await once(call(), "exit");
    expect(code).toBe(0);
    await waitFor("CRIU to end with it", () => processes().length === 0, { timeoutMs: 10_000 });
    expect(existsSync(join(root, "restoring"))).toBe(true);
    expect(existsSync(join(root, "created"))).toBe(true);
    expect(readdirSync(join(root, "upper"))).toEqual([]);
    expect(readFileSync(join(volume(), "file"), "utf8")).toBe("of now");
    expect(readdirSync(join(root, "precious"))).toEqual(["file"]);
  });
});
