import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkpointEntries, type EntrySpec, makeTar, message } from "../../../test/support/archive.ts";
import { image, memoryImages, PAGE } from "../../../test/support/criu.ts";
import { EXIT } from "../exit.ts";
import { kcr, testIo } from "../testing/io.ts";
import type { ProcessReport, Report } from "./report.ts";
import { processBranches } from "./text.ts";
import { treeLines } from "./tree.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-inspect-"));
});
afterAll(() => rm(directory, { recursive: true }));

const START = 0x10000n;

/** The images of one running process with these arguments and files. */
function processImages(pid: number, args: string, files: readonly Uint8Array[] = []): EntrySpec[] {
  const page = Buffer.alloc(PAGE);
  page.write(args);
  const strings = [START, START + BigInt(Buffer.byteLength(args))] as const;
  const memory = {
    pid,
    vmas: [{ start: START, pages: 1 }],
    runs: [{ address: START, pages: 1 }],
    pages: page,
  };
  return [
    ...memoryImages({ ...memory, arguments: strings, environment: strings, exeFileId: 1 }),
    image("core", `core-${pid}.img`, [message({ 1: 1, 3: message({ 1: 1, 6: "evil\x1b[2J" }) })]),
    image("ids", `ids-${pid}.img`, [message({ 1: 1, 2: pid })]),
    image("fs", `fs-${pid}.img`, [message({ 1: 1, 2: 1 })]),
    image(
      "fdinfo",
      `fdinfo-${pid}.img`,
      files.map((_, i) => message({ 1: i + 2, 2: 0, 3: 1, 4: i })),
    ),
  ];
}

const regular = (id: number, path: string) => message({ 1: 1, 2: id, 3: message({ 1: id, 6: path }) });

async function archive(name: string, entries: readonly EntrySpec[]): Promise<string> {
  const path = join(directory, name);
  const names = new Set(entries.map((entry) => entry.name));
  const others = checkpointEntries({ containerName: "c\x1b]0;x\x07" }).filter(
    (entry) => !names.has(entry.name),
  );
  await writeFile(path, await makeTar([...others, ...entries]));
  return path;
}

const hostile = () => [
  image("pstree", "pstree.img", [message({ 1: 1 })]),
  ...processImages(1, "A=\x1b[31m\0B_TOKEN=two\nlines\0", [regular(2, "")]),
  image("files", "files.img", [regular(1, "/bin/\u202etxt.exe"), regular(2, "/tmp/\x1b[1A\nroot")]),
];

describe("what comes from an archive", () => {
  it("does nothing to a terminal, whatever is in it", async () => {
    const path = await archive("hostile.tar", hostile());
    for (const args of [
      ...[["inspect", "--all"], ["inspect", "-o", "wide"], ["inspect", "--all", "-o", "json"], ["ps"]],
      ...[["inspect", "--all", "-o", "yaml"], ["files"], ["sockets"], ["env", "--show-secrets"], ["log"]],
    ]) {
      const { exit, out, err } = await kcr([args[0]!, path, ...args.slice(1)]);
      expect([exit, args]).toEqual([EXIT.done, args]);
      expect(`${out}${err}`).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
    }
    const { out } = await kcr(["files", path]);
    expect(out).toContain("/tmp/\\x1b[1A\\nroot");
  });

  it("is found in JSON as it was, with secrets only when they are asked for", async () => {
    const path = await archive("json.tar", hostile());
    const read = async (...flags: string[]) =>
      JSON.parse((await kcr(["inspect", path, "--env", ...flags, "-o", "json"])).out) as Report;
    expect((await read()).processes?.[0]?.environment).toEqual([
      { name: "A", value: "\x1b[31m" },
      { name: "B_TOKEN", value: "********", masked: true },
    ]);
    const shown = (await read("--show-secrets")).processes?.[0];
    expect(shown?.environment?.[1]).toEqual({ name: "B_TOKEN", value: "two\nlines" });
    expect(shown?.executable).toBe("/bin/\u202etxt.exe");
  });

  it("may be compressed", async () => {
    const tar = await makeTar(checkpointEntries());
    for (const [name, bytes] of [
      ["a.tar.gz", gzipSync(tar)],
      ["a.tar.zst", zstdCompressSync(tar)],
    ] as const) {
      await writeFile(join(directory, name), bytes);
      const { exit, out } = await kcr(["inspect", join(directory, name)]);
      expect([exit, out.split("\n")[0]]).toEqual([EXIT.done, "default/redis-0/redis"]);
    }
  });

  it("is refused when its processes would fill the memory", async () => {
    const names = Array.from({ length: 5000 }, (_, i) => `/f${i}`);
    const many = Array.from({ length: 60 }, (_, i) => i + 1);
    const [first] = [
      processImages(
        1,
        "a\0",
        names.map((name, i) => regular(i + 2, name)),
      ),
    ];
    // All have the same descriptors, as threads that are processes may.
    const shared = many.flatMap((pid) => [
      { ...first!.find(({ name }) => name.includes("/core-"))!, name: `checkpoint/core-${pid}.img` },
      { ...first!.find(({ name }) => name.includes("/ids-"))!, name: `checkpoint/ids-${pid}.img` },
      { ...first!.find(({ name }) => name.includes("/fs-"))!, name: `checkpoint/fs-${pid}.img` },
    ]);
    const path = await archive("many.tar", [
      image(
        "pstree",
        "pstree.img",
        many.map((pid) => message({ 1: pid, 2: pid - 1 })),
      ),
      ...first!.filter(({ name }) => !/\/(core|ids|fs)-/.test(name)),
      ...shared,
      image(
        "files",
        "files.img",
        names.map((name, i) => regular(i + 2, name)),
      ),
    ]);
    const { exit, err } = await kcr(["files", path]);
    expect([exit, err]).toEqual([EXIT.failed, expect.stringContaining("choose one with --pid")]);
    expect((await kcr(["files", path, "-p", "60"])).exit).toBe(EXIT.done);
  });
});

describe("kcr inspect", () => {
  it("of several goes on where one cannot be read, and fails in the end", async () => {
    const folder = await mkdtemp(join(directory, "folder-"));
    await writeFile(join(folder, "a.tar"), await makeTar(checkpointEntries()));
    await writeFile(join(folder, "b.tar"), "not a tar");
    await writeFile(join(folder, "notes.txt"), "nothing");
    const { exit, out, err } = await kcr(["inspect", folder]);
    expect(exit).toBe(EXIT.failed);
    expect(out.trim().split("\n")).toHaveLength(2);
    expect(out).toMatch(/^NAMESPACE +POD +CONTAINER +ENGINE +CHECKPOINTED +SIZE +ARCHIVE\ndefault +redis-0 /);
    expect(err).toContain("b.tar");
  });

  it("says what a checkpoint lacks", async () => {
    const path = join(directory, "lacking.tar");
    await writeFile(path, await makeTar(checkpointEntries({ without: ["checkpoint/pstree.img"] })));
    expect((await kcr(["inspect", path])).out).toMatch(/problems\n.*has no checkpoint\/pstree\.img/);
    const { exit, err } = await kcr(["ps", path]);
    expect([exit, err]).toEqual([EXIT.failed, expect.stringContaining("(ArchiveInvalid)")]);
  });

  it("knows no process that is not there, and no number that is none", async () => {
    const path = await archive("pid.tar", hostile());
    expect(await kcr(["ps", path, "-p", "7"])).toMatchObject({
      exit: EXIT.usage,
      err: expect.stringMatching(/^error: no process 7: kcr ps lists those that there are\n/),
    });
    expect((await kcr(["ps", path, "-p", "x"])).exit).toBe(EXIT.usage);
  });

  it("paints the branches of a tree on a terminal only", async () => {
    const path = await archive("paint.tar", hostile());
    const { out } = await kcr(["inspect", path], testIo({ tty: true }));
    expect(out).toContain("\x1b[2m├─ \x1b[22m");
    expect(out).not.toContain("\x1b]0;x");
  });
});

it("a tree of any depth is drawn, no wider than can be seen", () => {
  const chain = Array.from({ length: 20_000 }, (_, i): ProcessReport => {
    const [pid, ppid] = [i + 1, i];
    return { pid, ppid, pgid: 1, sid: 1, name: "p", state: "alive", threads: 1 };
  });
  const lines = treeLines(processBranches(chain), (_, text) => text);
  expect(lines).toHaveLength(20_000);
  expect(lines.slice(0, 3)).toEqual(["1 p", "└─ 2 p", "   └─ 3 p"]);
  expect(lines.at(-1)).toMatch(/└─ 20000 p$/);
  expect(lines.at(-1)!.length).toBeLessThan(300);
});

it("a tree may be of any width", () => {
  const below = Array.from({ length: 200_000 }, (_, n) => ({ text: `${n}` }));
  expect(treeLines([{ text: "root", below }], (_, text) => text)).toHaveLength(200_001);
});
