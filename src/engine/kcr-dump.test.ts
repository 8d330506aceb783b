import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  createReadStream,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compileDump } from "../../scripts/build.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { readTarStream } from "../runtime/parts/tar-reader.ts";
import { criuConfig, parseCriuOptions } from "../store/criu-options.ts";
import { parseStat } from "./shim.ts";

/**
 * The C program with a real control group (version 1: the freezer) and a runtime that is a shell script: it makes
 * CRIU's images of nothing, once it is told to.
 */
const FREEZER = "/sys/fs/cgroup/freezer";
/** This very process stands in for the host's first. */
const HOST = `${process.pid}`;
const canFreeze = process.getuid?.() === 0 && existsSync(join(FREEZER, "cgroup.procs"));

const RUNTIME = `#!/bin/sh
while [ $# -gt 1 ]; do
  case $1 in --image-path) images=$2 ;; --work-path) work=$2 ;; --file-locks | --ext*) options="$options $1" ;; esac
  shift
done
home=$(dirname "$0")
touch "$home/called"
until [ -e "$home/go" ]; do sleep 0.01; done
echo "id $1" >"$images/inventory.img"
echo "$options" >>"$images/inventory.img"
[ -z "$CRIU_CONFIG_FILE" ] || cat "$CRIU_CONFIG_FILE" >>"$images/inventory.img"
echo log >"$work/dump.log"
exit $(cat "$home/go")
`;

describe.skipIf(!canFreeze)("kcr-dump", () => {
  let program: string;
  let home: string;
  let cgroup: string;
  let container: ChildProcess;
  const at = (...parts: string[]) => join(home, ...parts);
  const read = (path: string) => readFileSync(path, "utf8").trim();
  const frozen = () => read(join(cgroup, "freezer.state"));
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    program = join(mkdtempSync(join(tmpdir(), "kcr-dump-")), "kcr-dump");
    await compileDump(program);
  });
  afterAll(() => rmSync(join(program, ".."), { recursive: true }));

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), "kcr-dump-"));
    cgroup = join(FREEZER, `kcr-test-${process.pid}-${Date.now()}`);
    mkdirSync(cgroup);
    mkdirSync(at("upper"));
    mkdirSync(at("dump/archive"), { recursive: true });
    writeFileSync(at("runc"), RUNTIME, { mode: 0o755 });
    writeFileSync(at("dump/archive/config.dump"), "{}");
    writeFileSync(at("log"), "said\n");
    container = processIn("container");
  });
  afterEach(async () => {
    writeFileSync(join(cgroup, "freezer.state"), "THAWED");
    for (const child of children.splice(0)) {
      const ended = child.exitCode !== null || child.signalCode !== null || once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
    await waitFor("the control group to be empty", () => read(join(cgroup, "cgroup.procs")) === "");
    rmdirSync(cgroup);
    rmSync(home, { recursive: true });
  });

  /** A process in the container's control group, which counts in a file. */
  function processIn(name: string): ChildProcess {
    const script = `echo $$ >"$0/cgroup.procs"; i=0; while :; do i=$((i+1)); echo $i >"$1"; sleep 0.01; done`;
    const child = spawn("sh", ["-c", script, cgroup, at(name)], { stdio: "ignore" });
    children.push(child);
    return child;
  }
  const advances = async () => {
    const before = read(at("container"));
    await waitFor("the container to run", () => read(at("container")) !== before && read(at("container")));
  };
  async function job(more: Record<string, string | number> = {}): Promise<void> {
    await waitFor("the container's process", () => existsSync(at("container")));
    const stat = parseStat(read(`/proc/${container.pid}/stat`));
    const values = {
      id: "abc",
      runtime: at("runc"),
      root: at("root"),
      init: container.pid,
      began: stat?.began,
      cgroup,
      cgroup_version: 1,
      upper: at("upper"),
      log: at("log"),
      archive: at("archive.tar"),
      path: process.env["PATH"],
      wait_ms: 10_000,
      pause_ms: 60_000,
      ...more,
    };
    const lines = Object.entries(values).map(([key, value]) => `${key}=${value}\n`);
    writeFileSync(at("dump/job"), lines.join(""));
  }
  /** Starts a dump; `ended` gives its last line. */
  function begin(): { child: ChildProcess; ended: Promise<string> } {
    const child = spawn(program, ["run", at("dump"), HOST], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      said += chunk;
    });
    return { child, ended: once(child, "close").then(() => said.trim().split("\n").at(-1) ?? "") };
  }
  const finish = (code = 0) => writeFileSync(at("go"), `${code}`);
  const paused = () => waitFor("the runtime to be called", () => existsSync(at("called")));
  const recover = () => spawnSync(program, ["recover", at("dump"), HOST]).status;
  /** The process that works, of the two. */
  const workerOf = (watcher: ChildProcess) =>
    waitFor(
      "the worker",
      () => Number(read(`/proc/${watcher.pid}/task/${watcher.pid}/children`)) || undefined,
    );
  const tar = (...argv: string[]) => spawnSync("tar", argv, { encoding: "utf8" }).stdout;

  it("freezes, dumps, copies, lets run on, and only then gives the archive its name", async () => {
    writeFileSync(at("upper/file"), "content");
    await job();
    const { ended } = begin();
    await paused();
    expect(frozen()).toBe("FROZEN");
    expect(existsSync(at("archive.tar"))).toBe(false);
    finish();
    expect(await ended).toBe("done");
    await advances();
    expect(tar("-tf", at("archive.tar")).trim().split("\n")).toEqual([
      ...["config.dump", "dump.log", "kcr-dump.json", "rootfs-diff.tar", "container.log", "checkpoint/"],
      "checkpoint/inventory.img",
    ]);
    expect(tar("-xOf", at("archive.tar"), "checkpoint/inventory.img", "container.log")).toBe(
      "said\nid abc\n\n",
    );
    const { pausedMicroseconds, copiedBytes } = JSON.parse(tar("-xOf", at("archive.tar"), "kcr-dump.json"));
    expect(copiedBytes).toBe("content".length);
    expect(pausedMicroseconds).toBeGreaterThan(1000);
    await waitFor("nothing to be left of it", () => !existsSync(at("dump")));
    expect(recover()).toBe(0);
  });

  it("gives the runtime and CRIU the options that the pod asks for, and the archive too", async () => {
    const parsed = parseCriuOptions("file-locks ext-unix-sk ghost-limit=2Mi");
    const config = parsed.type === "options" ? criuConfig(parsed.options) : "";
    writeFileSync(at("dump/criu.conf"), config);
    await job();
    finish();
    expect(await begin().ended).toBe("done");
    const inArchive = (name: string) => tar("-xOf", at("archive.tar"), `checkpoint/${name}`);
    expect(inArchive("inventory.img")).toBe(`id abc\n --file-locks --ext-unix-sk\n${config}`);
    expect(inArchive("kcr-criu.conf")).toBe(config);
  });

  it("makes a layer of what was written: whiteouts, links, attributes and long names", async () => {
    const long = `${"long/".repeat(30)}${"n".repeat(120)}`;
    mkdirSync(at("upper", long, ".."), { recursive: true });
    writeFileSync(at("upper", long), "long");
    writeFileSync(at("upper/ü"), "name");
    writeFileSync(at("upper/a"), "twice");
    linkSync(at("upper/a"), at("upper/b"));
    symlinkSync("../elsewhere", at("upper/link"));
    mkdirSync(at("upper/opaque"));
    chmodSync(at("upper/opaque"), 0o1777);
    const script = `cd "$0" && mknod gone c 0 0 && mknod null c 1 3 && mkfifo pipe && chown 1234:5678 a &&
      setfattr -n trusted.overlay.opaque -v y opaque && setfattr -n user.mark -v mine a &&
      setfattr -n trusted.overlay.origin -v x a`;
    const made = spawnSync("sh", ["-c", script, at("upper")], { encoding: "utf8" });
    expect(made.stderr).toBe("");
    await job();
    finish();
    expect(await begin().ended).toBe("done");
    writeFileSync(at("layer.tar"), spawnSync("tar", ["-xOf", at("archive.tar"), "rootfs-diff.tar"]).stdout);
    const entries = [];
    for await (const { name, type, linkName, mode, uid, gid, xattrs, size } of readTarStream(
      createReadStream(at("layer.tar")),
    )) {
      const attributes = [...xattrs].map(([key, value]) => `${key}=${value}`).join();
      entries.push([name, type, linkName, mode.toString(8), `${uid}:${gid}`, size, attributes]);
    }
    const file = (name: string, size: number) => [name, "file", "", "644", "0:0", size, ""];
    expect(entries.filter(([name]) => !`${name}`.startsWith("long/"))).toEqual([
      ["a", "file", "", "644", "1234:5678", 5, "user.mark=mine"],
      ["b", "hardlink", "a", "644", "1234:5678", 0, ""],
      [".wh.gone", "file", "", "600", "0:0", 0, ""],
      ["link", "symlink", "../elsewhere", "777", "0:0", 0, ""],
      ["null", "character", "", "644", "0:0", 0, ""],
      ["opaque/", "directory", "", "1777", "0:0", 0, ""],
      ["opaque/.wh..wh..opq", "file", "", "600", "0:0", 0, ""],
      ["pipe", "fifo", "", "644", "0:0", 0, ""],
      file(Buffer.from("ü").toString("latin1"), 4),
    ]);
    expect(entries).toContainEqual(file(long, 4));
  });

  it("waits for a process that the container did not start", async () => {
    const foreign = processIn("foreign");
    await waitFor("the foreign process", () => existsSync(at("foreign")));
    await job();
    finish();
    const { child, ended } = begin();
    const [first] = await once(child.stdout!, "data");
    expect(`${first}`).toContain("step waiting");
    await waitFor("the dump to say whom it waits for", () => existsSync(at("dump/step")));
    expect(existsSync(at("called"))).toBe(false);
    foreign.kill("SIGKILL");
    expect(await ended).toBe("done");
  });

  it("gives up on a foreign process that stays, and leaves the container running", async () => {
    const foreign = processIn("foreign");
    await waitFor("the foreign process", () => existsSync(at("foreign")));
    await job({ wait_ms: 100 });
    expect(await begin().ended).toMatch(new RegExp(`^failed Foreign process ${foreign.pid}, `));
    expect(existsSync(at("called"))).toBe(false);
    await advances();
  });

  it("does not touch a container that somebody else has paused", async () => {
    await job({ wait_ms: 100 });
    writeFileSync(join(cgroup, "freezer.state"), "FROZEN");
    expect(await begin().ended).toMatch(/^failed Paused /);
    expect(frozen()).toBe("FROZEN");
  });

  it.each([
    ["a container that has ended", { init: 999_999_999 }, "Gone"],
    ["a process number that was given out again", { began: 1 }, "Gone"],
  ])("does not dump %s", async (_, more, reason) => {
    await job(more);
    expect(await begin().ended).toMatch(new RegExp(`^failed ${reason} `));
  });

  it("lets the container run on when the runtime fails, and leaves no archive", async () => {
    await job();
    finish(3);
    expect(await begin().ended).toMatch(/^failed Runtime .* ended with 3$/);
    expect(existsSync(at("archive.tar"))).toBe(false);
    await advances();
  });

  it("ends a dump that takes too long", async () => {
    await job({ pause_ms: 300 });
    const { ended } = begin();
    await paused();
    expect(await ended).toMatch(/^failed TooLong /);
    await advances();
  });

  it("lets the container run on when its worker is killed", async () => {
    await job();
    const { child, ended } = begin();
    await paused();
    process.kill(await workerOf(child), "SIGKILL");
    expect(await ended).toMatch(/^failed Killed /);
    await advances();
  });

  it("goes on when nobody listens any more", async () => {
    await job();
    const { child } = begin();
    await paused();
    child.stdout!.destroy();
    finish();
    await waitFor("the archive", () => existsSync(at("archive.tar")));
    await advances();
  });

  it("that was killed altogether is undone, as soon as its runtime has ended too", async () => {
    await job();
    const { child, ended } = begin();
    await paused();
    const worker = await workerOf(child);
    child.kill("SIGKILL");
    expect(recover()).toBe(75);
    process.kill(worker, "SIGKILL");
    await ended;
    // The runtime may still freeze what it found frozen.
    expect(recover()).toBe(75);
    expect(frozen()).toBe("FROZEN");
    finish();
    await waitFor("the dump to be undone", () => recover() === 0);
    await advances();
    expect(existsSync(at("dump"))).toBe(false);
  });

  it("is alone with its container", async () => {
    await job();
    const first = begin();
    await paused();
    const second = begin();
    await second.ended;
    expect(second.child.exitCode).toBe(75);
    finish();
    expect(await first.ended).toBe("done");
  });
});
