import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { goodConfig, makeCase, POD_UID } from "./create-case.ts";
import { Random } from "./random.ts";

/**
 * Strange calls of `create` with the real runc behind the handler, and a real checkpoint: runs on a node of the
 * local cluster, in a mount namespace of its own, as `create-real.mjs <count> <seed>`; prints a JSON object.
 *
 * Each call must end as runc's own call with the same arguments does, or in a container that was restored and runs;
 * with exit code 1 and nothing run only where a valid plan says Fail.
 */
const [count = 200, seed = 1] = process.argv.slice(2).map(Number);
const HANDLER = "/opt/kcr-runtime";
const root = "/run/kcr-fuzz";
const bundle = join(root, "bundle");
const home = join(root, "home");
const state = join(root, "state");
const rootfs = join(bundle, "rootfs");
const runc = /^runtime=(.*)$/m.exec(readFileSync(join(HANDLER, "kcr-runtime.conf"), "utf8"))?.[1] ?? "runc";
const program = join(home, "kcr-runtime");
const result = { count, seed, created: 0, refused: 0, failed: 0, restored: 0, wrong: [] as string[] };

const call = (command: string, args: readonly string[]): number | null =>
  spawnSync(command, args, { cwd: bundle, stdio: "ignore" }).status;
const must = (command: string, ...args: string[]): void => {
  // No pipe: a container that is created holds on to it.
  const errors = openSync(join(root, "errors"), "w");
  const { status } = spawnSync(command, args, { cwd: bundle, stdio: ["ignore", "ignore", errors] });
  closeSync(errors);
  if (status !== 0)
    throw new Error(`${command} ${args.join(" ")}: ${readFileSync(join(root, "errors"), "utf8")}`);
};
const json = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

function prepare(): { config: Record<string, unknown>; copy: string } {
  rmSync(root, { recursive: true, force: true });
  for (const path of [rootfs, join(root, "lower/bin"), join(root, "upper"), join(root, "work"), home]) {
    mkdirSync(path, { recursive: true });
  }
  copyFileSync("/usr/bin/busybox", join(root, "lower/bin/busybox"));
  // Files, not links: what is written here must not reach the handler that is installed.
  cpSync(HANDLER, home, { recursive: true, dereference: true });
  const conf = { runtime: runc, state, containerd_root: join(root, "none"), wait_seconds: 0 };
  writeFileSync(
    join(home, "kcr-runtime.conf"),
    Object.entries(conf)
      .map(([key, value]) => `${key}=${value}\n`)
      .join(""),
  );
  must("mount", "--make-rprivate", "/");
  const options = ["lower", "upper", "work"].map((name) => `${name}dir=${join(root, name)}`).join(",");
  must("mount", "-t", "overlay", "overlay", "-o", options, rootfs);
  must(runc, "spec");
  const config = json(join(bundle, "config.json")) as Record<string, unknown>;
  const good = goodConfig() as { annotations: object };
  Object.assign(config, { annotations: good.annotations });
  const running = config["process"] as Record<string, unknown>;
  Object.assign(config["linux"] as object, { cgroupsPath: `/kcr-fuzz/${process.pid}` });
  Object.assign(running, {
    terminal: false,
    args: ["/bin/busybox", "sh", "-c", "while :; do /bin/busybox sleep 1; done"],
  });
  writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
  return { config, copy: checkpointed() };
}

/** A checkpoint of a container that ran, as a copy lies in kcr's directory. */
function checkpointed(): string {
  const globals = ["--root", join(root, "runc")];
  const image = join(root, "image");
  mkdirSync(image);
  // Its streams are the container's own: they must lead where CRIU can follow.
  const created = call(program, [...globals, "create", "--bundle", bundle, "first"]);
  if (created !== 0) throw new Error(`create ended with ${created}`);
  must(program, ...globals, "start", "first");
  // Until it has become the program that it is to run.
  const isRunning = `until grep -qx busybox "/proc/$(sed 's/.*"init_process_pid":\\([0-9]*\\).*/\\1/' ${join(root, "runc/first/state.json")})/comm"; do sleep 0.01; done`;
  must("timeout", "20", "sh", "-c", isRunning);
  must(program, ...globals, "checkpoint", "--image-path", image, "--work-path", join(root, "dump"), "first");
  call(program, [...globals, "delete", "--force", "first"]);
  const archive = createHash("sha256").update("first").digest("hex");
  const directory = join(root, "store/copies", archive);
  mkdirSync(directory, { recursive: true });
  cpSync(image, join(directory, "checkpoint"), { recursive: true });
  cpSync(join(bundle, "config.json"), join(directory, "spec.dump"));
  const layer = join(root, "layer");
  mkdirSync(layer);
  writeFileSync(join(layer, "written"), "before the checkpoint");
  must("tar", "-C", layer, "-czf", join(directory, "rootfs-diff.tar"), ".");
  const names = readdirSync(join(directory, "checkpoint")).map((name) => `checkpoint/${name}`);
  const files = [...names, "spec.dump", "rootfs-diff.tar"].map((path) => {
    const content = readFileSync(join(directory, path));
    return { path, size: content.length, sha256: createHash("sha256").update(content).digest("hex") };
  });
  const index = { version: 1, archive, engine: "containerd", files, openForWriting: [], mounts: [] };
  writeFileSync(join(directory, "copy.json"), JSON.stringify(index));
  return archive;
}

function play(number: number, { config, copy }: ReturnType<typeof prepare>): void {
  const random = new Random(seed + number);
  const missing = createHash("sha256").update("nothing").digest("hex");
  const made = makeCase(random, { copies: [copy, copy, missing] }, { planned: 0.7 });
  // What a container may do to the node is not the point: only what the handler reads is strange.
  const strange = { ...config, annotations: (readable(made.config) ?? config)["annotations"] };
  const text = random.chance(0.6) ? JSON.stringify(config) : JSON.stringify(strange);
  writeFileSync(join(bundle, "config.json"), text);
  const own = join(root, "runc");
  const argv = made.argv.map((word) =>
    word.replace("/run/containerd/runc/k8s.io", own).replaceAll("BUNDLE", bundle),
  );
  const id = /^(0f){32}$/;
  const ids = argv.filter((word) => id.test(word));
  const clear = (): void => {
    for (const one of ids) call(runc, ["--root", own, "delete", "--force", one]);
    must(program, "--kcr-reset-overlay", rootfs);
    rmSync(join(bundle, "log.json"), { force: true });
  };

  const expected = call(runc, argv);
  clear();
  rmSync(state, { recursive: true, force: true });
  for (const name of ["plans", "runs"]) mkdirSync(join(state, name, POD_UID, "main"), { recursive: true });
  cpSync(join(root, "store"), join(state, "store"), { recursive: true });
  if (made.plan !== undefined) writeFileSync(join(state, "plans", POD_UID, "main.json"), made.plan);
  for (const [name, content] of Object.entries({
    last: made.last,
    killed: made.killed,
    "state.json": made.state,
  })) {
    if (content !== undefined) writeFileSync(join(state, "runs", POD_UID, "main", name), content);
  }
  const code = call(program, argv);
  const isRestored = ids.some((one) => existsSync(join(state, "work", one, "restored")));
  const status = ids.map((one) => statusOf(own, one)).find(Boolean);
  const refuses = made.plan !== undefined && readable(made.plan)?.["fallback"] === "Fail";
  if (isRestored && code === 0 && status === "running") result.restored++;
  else if (isRestored) wrong("restored, and does not run");
  else if (code === expected) {
    if (code === 0 && status !== "created") wrong("runc's create, and no container");
    else if (readdirSync(join(root, "upper")).some((name) => name === "written"))
      wrong("files of a restore are left");
    else result[code === 0 ? "created" : "failed"]++;
  } else if (code === 1 && refuses) result.refused++;
  else wrong(`runc ends with ${expected}`);
  clear();

  function wrong(why: string): void {
    result.wrong.push(
      `case ${number}: ${why}; exit code ${code}, ${status}; ${JSON.stringify({ ...made, argv })}`,
    );
  }
}

function readable(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function statusOf(own: string, id: string): string | undefined {
  const { stdout, status } = spawnSync(runc, ["--root", own, "state", id], { encoding: "utf8" });
  return status === 0 ? ((readable(stdout)?.["status"] as string | undefined) ?? "unknown") : undefined;
}

try {
  const prepared = prepare();
  for (let number = 0; number < count && result.wrong.length < 5; number++) play(number, prepared);
  console.log(JSON.stringify(result));
} finally {
  spawnSync("umount", ["-l", rootfs]);
  rmSync(root, { recursive: true, force: true });
}
