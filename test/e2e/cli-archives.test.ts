import { execFile } from "node:child_process";
import { copyFile, mkdtemp, open, readdir, readFile, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { run } from "../../cluster/run.ts";
import { bundleCli, CLI } from "../../scripts/build.ts";
import { FileBytes } from "../../src/archive/bytes.ts";
import { readTar } from "../../src/archive/tar.ts";
import { EXIT } from "../../src/cli/exit.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { hole, writeCheckpoint } from "../support/archive.ts";
import { type ArchiveSet, archiveSet } from "../support/archive-set.ts";
import { PAGE, VMA } from "../support/criu.ts";
import { processImages } from "../support/processes.ts";
import { Terminal } from "../support/terminal.ts";
import { redis, redisCommand, World } from "../support/world.ts";

const cluster = inject("cluster");
const [GREEN, RED] = ["\x1b[32m", "\x1b[31m"];

describe.skipIf(cluster === undefined)("archives, as a person looks into them", () => {
  let world: World;
  let archives: ArchiveSet;
  let directory: string;
  let environment: Record<string, string>;

  beforeAll(async () => {
    world = await World.enter(cluster!, "archives");
    directory = await mkdtemp(join(tmpdir(), "kcr-archives-"));
    [archives] = await Promise.all([archiveSet(world), bundleCli(join(directory, "bin"))]);
    await run(["ln", "-s", CLI, join(directory, "bin", "kcr")]);
    environment = {
      KUBECONFIG: "/nowhere",
      PATH: `${join(directory, "bin")}:${dirname(process.execPath)}:${process.env["PATH"]}`,
      HOME: directory,
    };
  });
  afterAll(async () => {
    await world?.leave();
    await rm(directory, { recursive: true });
  });

  const file = (name: string) => join(directory, name);
  const inRepository = (name: string) => `people/${world.namespace}/${name}`;

  /** As a script runs it: no terminal anywhere, and no cluster. */
  const kcr = (...args: string[]): Promise<{ exit: number | null; out: string; err: string }> =>
    new Promise((resolve) => {
      const child = execFile(file("bin/kcr"), args, { env: environment }, (_error, out, err) =>
        resolve({ exit: child.exitCode, out, err }),
      );
      child.stdin?.end();
    });

  it("mem: whose memory it is, where things are in it, and a copy of some of it", async () => {
    const { everything } = archives;
    const [table, memfd, lines, json, none] = await Promise.all([
      kcr("mem", everything),
      kcr("mem", everything, "--pid", "1", "--vma", "memfd"),
      kcr("mem", everything, "--pid", "1", "--search", "needle-42"),
      kcr("mem", everything, "-p", "1", "--regex", "NEEDLE-4\\d", "-i", "--vma", "anonymous", "-o", "json"),
      kcr("mem", everything, "--regex", "needle-\\d{3}"),
    ]);
    expect(table.out).toMatch(/^PID +NAME +SIZE +MEMORY +SHARED +IN ARCHIVE\n/);
    for (const name of ["python3", "first", "parent", "grandchild"]) {
      expect(table.out).toMatch(new RegExp(`^ +\\d+ +${name} +[\\d.]+ MiB +[\\d.]+ [KM]iB `, "m"));
    }
    expect(memfd.out).toMatch(/^[0-9a-f]+-[0-9a-f]+ +rw-s +memfd +8\.0 KiB .*memfd:secrets/m);
    expect(memfd.out.trim().split("\n")).toHaveLength(2);
    expect(none).toMatchObject({ exit: EXIT.no, out: "" });

    // The program has written it to the beginning of a mapping.
    const { hits } = JSON.parse(json.out) as { hits: { address: string; text: string }[] };
    const [place, ...others] = hits.filter(({ address }) => address.endsWith("000"));
    expect(others).toEqual([]);
    const { address } = place!;
    expect(lines.out).toMatch(
      new RegExp(`^ +1 +${address.padStart(16, "0")} +rw-p +\\[anonymous\\] +needle-42$`, "m"),
    );
    const range = `${address}-${(BigInt(`0x${address}`) + 4096n).toString(16)}`;
    const copy = file("page.bin");
    const [around, dumped, piped] = await Promise.all([
      kcr("mem", everything, "-p", "1", "-r", "needle-\\d+", "--range", range, "--context", "7"),
      kcr("mem", everything, "-p", "1", "--range", range, "--dump", copy),
      kcr("mem", everything, "-p", "1", "--range", range, "--dump", "-"),
    ]);
    expect(around.out.split("\n").slice(1)).toEqual([
      expect.stringMatching(
        new RegExp(`^0*${address}  6e 65 65 64 6c 65 2d 34 32 00 .*\\|needle-42\\.{7}\\|$`),
      ),
      "",
    ]);
    const page = Buffer.alloc(4096);
    page.write("needle-42");
    expect([dumped.exit, await readFile(copy)]).toEqual([EXIT.done, page]);
    expect((await stat(copy)).mode & 0o777).toBe(0o600);
    expect(Buffer.from(piped.out, "latin1")).toEqual(page);
  });

  it("fs: what was written and deleted, and the files themselves", async () => {
    const { shell } = archives;
    const [list, written, deleted] = await Promise.all([
      kcr("fs", shell),
      kcr("fs", shell, "cat", "/tmp/file"),
      kcr("fs", shell, "cat", "/bin/vi"),
    ]);
    expect(list.out).toMatch(/^written +-rw-r--r-- +8 B +\S+Z +\/tmp\/file$/m);
    expect(list.out).toMatch(/^deleted .* \/bin\/vi$/m);
    expect(written).toEqual({ exit: EXIT.done, out: "written\n", err: "" });
    expect(deleted).toMatchObject({ exit: EXIT.failed, out: "" });
    expect(deleted.err).toMatch(/^error: .*\/bin\/vi.* \(\w+\)\n {2}\S/);
  });

  it("diff: in colours on a terminal, and the answer as exit code", async () => {
    const { everything } = archives;
    const later = archives["everything-later"];
    await using terminal = await Terminal.open(environment, { rows: 200 });
    const { shown, exit } = await terminal.run(`kcr diff ${everything} ${later}`);
    expect(exit).toBe(EXIT.no);
    expect(shown).toMatch(/^ {2}- \d+ first$/m);
    expect(shown).toMatch(/^ {2}\+ \d+ late$/m);
    expect(shown).toMatch(/^ {2}\+ 1\/\d+ TCP 127\.0\.0\.1:7004 LISTEN$/m);
    expect(shown).toMatch(/^memory\n {2}process 1 python3: \d+ of \d+ pages differ/m);
    const coloured = await terminal.screen({ escapes: true });
    expect(coloured).toContain(`${GREEN}+`);
    expect(coloured).toContain(`${RED}-`);
    const same = await kcr("diff", later, later);
    expect([same.exit, same.out]).toEqual([EXIT.done, expect.stringContaining("no differences")]);
    expect(same.out).not.toContain("\x1b");
  });

  it("verify: a good one, one with a bit flipped, one cut short", async () => {
    const good = archives.redis;
    const digest = digestOf(await readFile(good));
    const [image, page] = await Promise.all([
      flipped("image.tar", "checkpoint/pstree.img"),
      flipped("page.tar", "checkpoint/pages-1.img"),
    ]);
    const short = file("short.tar");
    await copyFile(good, short);
    await truncate(short, 1_000_000);
    await using terminal = await Terminal.open(environment, { columns: 200 });

    const whole = await terminal.run(`kcr verify ${good} --digest ${digest}`);
    expect(whole.exit).toBe(EXIT.done);
    expect(whole.shown).toMatch(/^whole +\d+ images, 1 processes, [\d.]+ MiB of memory/m);
    expect(await terminal.screen({ escapes: true })).toContain(`${GREEN}whole`);
    for (const [damaged, says] of [
      [image, "pstree.img"],
      [short, "short.tar"],
    ] as const) {
      const { exit, out } = await kcr("verify", damaged);
      expect([damaged, exit]).toEqual([damaged, EXIT.no]);
      expect(out).toMatch(new RegExp(`^damaged  .*${says}`, "m"));
    }
    // Memory may hold anything: only its digest tells.
    expect((await kcr("verify", page)).exit).toBe(EXIT.done);
    const told = await kcr("verify", page, "--digest", digest, "-o", "json");
    expect([told.exit, JSON.parse(told.out).whole]).toEqual([EXIT.no, false]);
  });

  /** A copy of the archive of a Redis in which the first bit of an entry is another. */
  async function flipped(name: string, entry: string): Promise<string> {
    const copy = file(name);
    await copyFile(archives.redis, copy);
    await using bytes = await FileBytes.open(copy);
    const { offset } = [...(await readTar(bytes)).entries()].find((one) => one.name === entry)!;
    await using written = await open(copy, "r+");
    const { buffer } = await written.read(Buffer.alloc(1), 0, 1, offset);
    await written.write(Buffer.of(buffer[0]! ^ 1), 0, 1, offset);
    return copy;
  }

  it("build: a node's containerd takes the tar", async () => {
    const node = world.worker("2.3");
    const name = `${world.cluster.registry.pull}/${inRepository("shell")}:built`;
    const { exit, out } = await kcr("build", archives.shell, name, "-o", file("shell-image.tar"));
    expect(exit).toBe(EXIT.done);
    const [, digest] = /@(sha256:[0-9a-f]{64})$/m.exec(out) ?? [];
    const tar = `${world.namespace}.tar`;
    const onHost = join(world.cluster.dataDir(node, "kubelet"), tar);
    await copyFile(file("shell-image.tar"), onHost);
    const images = (...args: string[]) =>
      world.cluster.nodeExec(node, ["ctr", "-n", "k8s.io", "images", ...args]);
    try {
      await images("import", "--no-unpack", `/var/lib/kubelet/${tar}`);
      expect(await images("ls", `name==${name}`)).toContain(digest);
    } finally {
      await rm(onHost);
      await images("rm", name);
    }
  });

  it("push: containerd 2.3 goes on from the image with what the Redis held", async () => {
    const { push, pull } = world.cluster.registry;
    const repository = inRepository("redis");
    await using terminal = await Terminal.open(environment, { columns: 200 });
    const { shown, exit } = await terminal.run(
      `kcr push ${archives.redis} ${push}/${repository}:kept --plain-http`,
    );
    expect(exit).toBe(EXIT.done);
    expect(shown).toContain(`pushed ${push}/${repository}:kept, `);
    const [, digest] = /@(sha256:[0-9a-f]{64})$/m.exec(shown) ?? [];
    const image = `${pull}/${repository}@${digest}`;
    // For a restore this containerd wants the image that the container was started from to be on the node.
    await world.deploy({ name: "started", containers: [redis(world)] });
    const pod = await world.deploy({ name: "restored", containers: [{ ...redis(world), image }] });
    expect(await redisCommand(pod.status?.podIP ?? "", "GET name")).toContain("kept-in-redis");
  });

  it("leaves nothing behind when it is interrupted, whatever it is doing", async () => {
    const pages = Buffer.alloc(65 * PAGE, "a");
    pages.write("to be found");
    const vmas = [
      { start: 0x10000n, pages: 1, status: 1n | VMA.heap },
      { start: 0x100000n, pages: 64 },
    ];
    const runs = [
      { address: 0x10000n, pages: 1 },
      { address: 0x100000n, pages: 64 },
    ];
    const more = processImages([{ pid: 1, name: "app", memory: { vmas, runs, pages } }], []);
    const slow = await writeCheckpoint(file("slow.tar"), { more });
    await writeCheckpoint(file("large.tar"), { pages: hole(6 * 2 ** 30) });
    await using terminal = await Terminal.open(environment, { columns: 60 });

    // What the first mapping holds is shown; in the second the expression tries for a minute.
    await terminal.type(`kcr mem ${slow} -r 'to be found|[^\\0]*password'; echo "[exit $?]"`);
    await terminal.shows(/ +1 +0{11}10000 +rw-p +\[heap\] +to be found$/m);
    await terminal.press("C-c");
    await terminal.shows(/\[exit 130\]/);
    const { exit, out, err } = await kcr("mem", slow, "-r", "[^\\0]*password");
    expect([exit, out]).toEqual([EXIT.failed, ""]);
    expect(err).toContain("(ExpressionTooSlow)");

    const before = await readdir(directory);
    await terminal.type(`cd ${directory}; kcr build large.tar x/y:z -o large-image.tar; echo "[exit $?]"`);
    // One line of progress, within the terminal's width.
    const waiting = await terminal.shows(/^. building large-image\.tar .*$/m);
    const [line, ...others] = waiting.split("\n").filter((one) => /^. building/.test(one));
    expect([line!.length <= 60, others]).toEqual([true, []]);
    await terminal.press("C-c");
    expect(await terminal.shows(/\[exit 130\]/)).not.toMatch(/^. building/m);
    expect(await terminal.cursor()).toBe(true);
    expect(await readdir(directory)).toEqual(before);
  });
});
