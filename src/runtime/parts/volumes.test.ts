import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EntrySpec, makeTar } from "../../../test/support/archive.ts";
import type { Tools } from "./extract.ts";
import { parseSpec, type SpecMount } from "./spec.ts";
import { raw } from "./tree.ts";
import { dropFormerFiles, putBackVolumes, sourcesOf, takeBackVolumes } from "./volumes.ts";
import { captureVolumes } from "./volumes-capture.ts";

const UID = "29061b7a-d865-4afd-af9c-92dec804ef01";
let base: string;
let copyDir: string;
let imagePath: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-volumes-"));
  copyDir = join(base, "copy");
  imagePath = join(copyDir, "checkpoint");
  mkdirSync(imagePath, { recursive: true });
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const emptyDir = (name: string, podUID = UID): string => {
  const path = join(base, "pods", podUID, "volumes", "kubernetes.io~empty-dir", name);
  mkdirSync(path, { recursive: true });
  return path;
};

const bind = (destination: string, source: string, ...options: string[]): SpecMount => ({
  destination,
  source,
  type: "bind",
  options: ["rbind", ...options],
});

const spec = (...mounts: SpecMount[]) =>
  parseSpec(JSON.stringify({ mounts, annotations: { "io.kubernetes.cri.sandbox-uid": UID } }), "config.json");

/** All there is to know of a tree, but for what reading it changes. Names are bytes, one a character. */
function listing(root: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const note = (name: string): void => {
    const path = raw(`${root}${name}`);
    const stats = lstatSync(path);
    const { mode, uid, gid, mtimeMs } = stats;
    const content = stats.isFile() ? readFileSync(path, "utf8") : "";
    const target = stats.isSymbolicLink() ? readlinkSync(path, "latin1") : "";
    found[name] = [mode.toString(8), uid, gid, mtimeMs, content, target];
    if (!stats.isDirectory()) return;
    for (const inner of readdirSync(path, "latin1").sort()) note(`${name}/${inner}`);
  };
  note("");
  return found;
}

/** An emptyDir with something of every kind in it. */
function filled(): string {
  const data = emptyDir("data");
  mkdirSync(join(data, "sub", "empty"), { recursive: true });
  writeFileSync(join(data, "sub", "file"), "state 1");
  linkSync(join(data, "sub", "file"), join(data, "again"));
  symlinkSync("/etc/passwd", join(data, "link"));
  symlinkSync("/", join(data, "root"));
  execFileSync("mkfifo", [join(data, "pipe")]);
  writeFileSync(join(data, `${"long ".repeat(40)}\u00fc`), "x".repeat(3_000_000));
  writeFileSync(Buffer.from(`${data}/not utf-8 \xff\xfe`, "latin1"), "raw");
  chownSync(join(data, "sub", "file"), 1_000_650_000, 1_000_650_000);
  chmodSync(join(data, "sub", "file"), 0o4640);
  chmodSync(join(data, "sub", "empty"), 0o1777);
  chmodSync(data, 0o2777);
  chownSync(data, 0, 2000);
  aged(data);
  return data;
}

/** Gives everything in a tree a time of its own that a double has the digits for. */
function aged(root: string): void {
  for (const [at, name] of Object.keys(listing(root)).entries()) {
    lutimesSync(raw(`${root}${name}`), 1, 1_600_000_000.5 + at);
  }
}

const note = async (mounts: SpecMount[], maxBytes = 1e9) =>
  await captureVolumes({ spec: spec(...mounts), imagePath, maxBytes });

const tar = join("checkpoint", "kcr-volumes.tar");

describe("capturing and putting back", () => {
  it("gives an emptyDir of the next pod everything that it had, and takes away what came since", async () => {
    const data = filled();
    const before = listing(data);
    const captured = await note([bind("/data", data)]);
    expect(captured).toEqual({ captured: [{ name: "data", destination: "/data" }], left: [] });
    expect(listing(data)).toEqual(before);

    const other = join(base, "pods", UID.replace("2", "3"), "volumes", "kubernetes.io~empty-dir", "data");
    mkdirSync(dirname(other), { recursive: true });
    mkdirSync(other);
    writeFileSync(join(other, "since"), "state 2");
    mkdirSync(join(other, "link"));
    const nextPod = { ...spec(bind("/data", other)), annotations: {} };
    const back = await putBackVolumes({ copyDir, note: captured, spec: nextPod });
    back.keep();
    expect(back).toMatchObject({ volumes: ["data"], leftOut: [] });
    expect(listing(other)).toEqual(before);
    expect(lstatSync(join(other, "again")).ino).toBe(lstatSync(join(other, "sub", "file")).ino);
  });

  it("writes what GNU tar reads", async () => {
    const data = filled();
    await note([bind("/data", data)]);
    const into = join(base, "into");
    mkdirSync(into);
    execFileSync("tar", ["-xpf", join(copyDir, tar), "-C", into, "--numeric-owner"]);
    expect(listing(join(into, "data"))).toEqual(listing(data));
  });

  it("makes the volume what it was when the restore fails afterwards", async () => {
    const data = filled();
    const captured = await note([bind("/data", data)]);
    writeFileSync(join(data, "since"), "state 2");
    writeFileSync(join(data, "sub", "file"), "state 2");
    chmodSync(data, 0o755);
    aged(data);
    const before = listing(data);
    const back = await putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) });
    expect(readFileSync(join(data, "sub", "file"), "utf8")).toBe("state 1");
    expect(existsSync(join(data, "since"))).toBe(false);
    back.undo();
    expect(listing(data)).toEqual(before);
  });

  it("makes the volume what it was after a restore was killed, as often as it is told to", async () => {
    const data = filled();
    const captured = await note([bind("/data", data)]);
    writeFileSync(join(data, "since"), "state 2");
    chmodSync(data, 0o755);
    aged(data);
    const before = listing(data);
    // Killed: neither kept nor undone.
    await putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) });
    takeBackVolumes([data]);
    expect(listing(data)).toEqual(before);
    takeBackVolumes([data]);
    expect(listing(data)).toEqual(before);
  });

  it.each([
    ["while the files were set aside", ".kcr-moving"],
    ["while they were taken back", ".kcr-moving"],
    ["before they were", ".kcr-before"],
  ])("makes the volume what it was after a kill %s", async (when, directory) => {
    const data = emptyDir("data");
    const own = directory === ".kcr-moving" ? ["of-before", "too"] : ["of-the-checkpoint"];
    mkdirSync(join(data, directory));
    chmodSync(join(data, directory), 0o2770);
    for (const name of own) writeFileSync(join(data, name), when);
    writeFileSync(join(data, directory, "of-before-too"), "");
    takeBackVolumes([data]);
    const expected = directory === ".kcr-moving" ? [...own, "of-before-too"] : ["of-before-too"];
    expect(readdirSync(data).sort()).toEqual(expected.sort());
    expect(lstatSync(data).mode & 0o7777).toBe(0o2770);
  });

  it("takes up what a killed restore had set aside", async () => {
    const data = filled();
    const captured = await note([bind("/data", data)]);
    const mounts = spec(bind("/data", data));
    writeFileSync(join(data, "since"), "state 2");
    const before = listing(data);
    await putBackVolumes({ copyDir, note: captured, spec: mounts });
    (await putBackVolumes({ copyDir, note: captured, spec: mounts })).undo();
    expect(listing(data)).toEqual(before);
  });

  it("is not put off by what a container has put in its way", () => {
    const data = emptyDir("data");
    for (const dir of [".kcr-before/.kcr-moving/x", ".kcr-before/mine", ".kcr-gone/x"]) {
      mkdirSync(join(data, dir), { recursive: true });
    }
    takeBackVolumes([data]);
    expect(readdirSync(data)).toEqual(["mine"]);
    for (const dir of [".kcr-moving/mine", "mine/new"]) mkdirSync(join(data, dir), { recursive: true });
    takeBackVolumes([data]);
    expect(readdirSync(data)).toEqual(["mine"]);
    expect(readdirSync(join(data, "mine"))).toEqual([]);
    for (const dir of [".kcr-before/x", ".kcr-gone/x"]) mkdirSync(join(data, dir), { recursive: true });
    dropFormerFiles([data]);
    expect(readdirSync(data)).toEqual(["mine"]);
  });

  it("removes the former files after a kill that came when all was restored", async () => {
    const data = filled();
    const before = listing(data);
    const captured = await note([bind("/data", data)]);
    writeFileSync(join(data, "since"), "state 2");
    await putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) });
    dropFormerFiles([data]);
    expect(listing(data)).toEqual(before);
    dropFormerFiles([data]);
    takeBackVolumes([data]);
    expect(listing(data)).toEqual(before);
  });

  it("leaves a volume of the checkpoint that is not asked for as it is", async () => {
    const [own, shared] = [emptyDir("own"), emptyDir("shared")];
    const mounts = [bind("/own", own), bind("/shared", shared)];
    for (const dir of [own, shared]) writeFileSync(join(dir, "file"), "state 1");
    const { captured } = await note(mounts);
    for (const dir of [own, shared]) writeFileSync(join(dir, "file"), "state 2");
    const asked = { captured: captured.filter(({ name }) => name === "own") };
    (await putBackVolumes({ copyDir, note: asked, spec: spec(...mounts) })).keep();
    const files = [own, shared].map((dir) => readFileSync(join(dir, "file"), "utf8"));
    expect(files).toEqual(["state 1", "state 2"]);
    expect(sourcesOf(asked, spec(...mounts))).toEqual([own]);
  });

  it("does not save what a restore has set aside", async () => {
    const data = filled();
    const mounts = [bind("/data", data)];
    const captured = await note(mounts);
    await putBackVolumes({ copyDir, note: captured, spec: spec(...mounts) });
    expect(existsSync(join(data, ".kcr-before"))).toBe(true);
    rmSync(join(copyDir, tar));
    await note(mounts);
    const names = execFileSync("tar", ["-tf", join(copyDir, tar)], { encoding: "utf8" });
    expect(names).not.toContain(".kcr-before");
  });

  it("puts several volumes back, each its own, and one that is mounted twice once", async () => {
    const [a, b] = [emptyDir("a"), emptyDir("b")];
    writeFileSync(join(a, "of-a"), "");
    writeFileSync(join(b, "of-b"), "");
    const mounts = [bind("/a", a), bind("/b", b), bind("/a2", a)];
    const captured = await note(mounts);
    expect(captured.captured.map(({ name }) => name)).toEqual(["a", "b", "a"]);
    for (const dir of [a, b]) rmSync(dir, { recursive: true });
    for (const dir of [a, b]) mkdirSync(dir);
    const back = await putBackVolumes({ copyDir, note: captured, spec: spec(...mounts) });
    back.keep();
    expect(readdirSync(a)).toEqual(["of-a"]);
    expect(readdirSync(b)).toEqual(["of-b"]);
  });
});

describe("capturing", () => {
  it("leaves what it cannot save whole, says why, and makes no tar of nothing", async () => {
    const data = filled();
    const device = emptyDir("device");
    execFileSync("mknod", [join(device, "null"), "c", "1", "3"]);
    const subPath = join(base, "pods", UID, "volume-subpaths", "data", "app", "0");
    const claim = join(base, "pods", UID, "volumes", "kubernetes.io~csi", "pvc-1", "mount");
    const gone = join(base, "pods", UID, "volumes", "kubernetes.io~empty-dir", "gone");
    const found = await note(
      [
        bind("/large", data),
        bind("/device", device),
        bind("/sub", subPath),
        bind("/claim", claim),
        bind("/gone", gone),
        bind("/other", emptyDir("x", "other-pod")),
        bind("/dev/shm", join(base, "sandboxes", "f92a", "shm")),
        bind("/read-only", data, "ro"),
        bind("/config", join(base, "pods", UID, "volumes", "kubernetes.io~configmap", "c")),
        bind("/etc/hosts", join(base, "pods", UID, "etc-hosts")),
      ],
      1_000_000,
    );
    expect(found.captured).toEqual([]);
    expect(found.left.map(({ destination, why }) => [destination, why.slice(0, 24)])).toEqual([
      ["/large", "it has more than 1000000"],
      ["/device", "it has a device in it"],
      ["/sub", "a subPath of a volume"],
      ["/claim", "not an emptyDir"],
      ["/gone", "it cannot be read: ENOEN"],
      ["/other", "an emptyDir of another p"],
      ["/dev/shm", "shared memory of the pod"],
    ]);
    expect(readdirSync(imagePath)).toEqual([]);
  });

  it("passes sockets over", async () => {
    const data = emptyDir("data");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(base, "socket"), resolve));
    // A socket's address has to be shorter than the volume's path.
    renameSync(join(base, "socket"), join(data, "socket"));
    writeFileSync(join(data, "file"), "");
    expect(await note([bind("/data", data)])).toMatchObject({ left: [] });
    server.close();
    const names = execFileSync("tar", ["-tf", join(copyDir, tar)], { encoding: "utf8" });
    expect(names.split("\n").filter(Boolean)).toEqual(["data/", "data/file"]);
  });

  it("saves what is left of files that are cut off or removed meanwhile", async () => {
    const data = emptyDir("data");
    writeFileSync(join(data, "cut"), "x".repeat(2_500_000));
    writeFileSync(join(data, "gone"), "x");
    let asked = 0;
    // Looked at before each file and each piece of one: the third time the pieces of the first have begun.
    const signal = Object.assign(new AbortController().signal, {
      throwIfAborted: () => {
        asked += 1;
        if (existsSync(join(copyDir, tar))) {
          rmSync(join(data, "gone"), { force: true });
          if (lstatSync(join(copyDir, tar)).size > 1_000_000) truncateSync(join(data, "cut"), 10);
        }
      },
    });
    const options = { spec: spec(bind("/data", data)), imagePath, maxBytes: 1e9, signal };
    expect(await captureVolumes(options)).toMatchObject({ left: [], captured: [{ name: "data" }] });
    expect(asked).toBeGreaterThan(4);
    const list = execFileSync("tar", ["-tvf", join(copyDir, tar)], { encoding: "utf8" });
    expect(list).not.toContain("gone");
    expect(list).toMatch(/ 2500000 .* data\/cut\n/);
    const content = execFileSync("tar", ["-xOf", join(copyDir, tar), "data/cut"], { maxBuffer: 4e6 });
    expect([content[0], content.at(-1)]).toEqual(["x".charCodeAt(0), 0]);
  });

  it("leaves all when the tar cannot be written, and stops with the signal's reason", async () => {
    const data = filled();
    writeFileSync(join(copyDir, tar), "taken");
    const found = await note([bind("/data", data)]);
    expect(found).toMatchObject({ captured: [], left: [{ destination: "/data" }] });
    expect(found.left[0]?.why).toMatch(/could not be saved: EEXIST/);
    const reason = new Error("time is up");
    const options = { spec: spec(bind("/data", data)), imagePath, maxBytes: 1e9 };
    await expect(captureVolumes({ ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(readdirSync(imagePath)).toEqual([]);
  });
});

describe("putting back", () => {
  const captured = { captured: [{ name: "data", destination: "/data" }] };
  const pack = async (...entries: EntrySpec[]) =>
    writeFileSync(join(copyDir, tar), await makeTar([{ name: "data/", type: "directory" }, ...entries]));

  it.each<[string, EntrySpec]>([
    ["above the volume", { name: "data/../../x", content: "x" }],
    ["that links to another volume", { name: "data/x", type: "link", linkname: "other/way-out" }],
    ["that links above", { name: "data/x", type: "link", linkname: "data/../../../etc-hosts" }],
    ["through a link", { name: "data/way-out/x", content: "x" }],
    ["that is a device", { name: "data/x", type: "block-device", devmajor: 8, devminor: 0 }],
    ["among what is set aside", { name: "data/.kcr-before/x", content: "x" }],
    [
      "that links to what is set aside",
      { name: "data/x", type: "link", linkname: "data/.kcr-before/sub/file" },
    ],
    ["in the place of what is set aside", { name: "data/.kcr-before", type: "symlink", linkname: "/" }],
    ["in the place of the volume", { name: "data", content: "x" }],
  ])("refuses an entry %s, and the volume is as it was", async (_, entry) => {
    const data = filled();
    const before = listing(data);
    await pack({ name: "data/way-out", type: "symlink", linkname: ".." }, entry);
    await expect(
      putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) }),
    ).rejects.toMatchObject({ code: "ArchiveInvalid" });
    expect(listing(data)).toEqual(before);
    expect(readdirSync(dirname(data))).toEqual(["data"]);
  });

  it.each<[string, () => SpecMount[]]>([
    ["is not there", () => []],
    ["is read-only", () => [bind("/data", emptyDir("data"), "ro")]],
    ["is of another pod", () => [bind("/data", emptyDir("data", "other-pod"))]],
    ["is no emptyDir", () => [bind("/data", base)]],
    [
      "only looks like one",
      () => [bind("/data", `${base}/pods/${UID}/volumes/kubernetes.io~empty-dir/../../../..`)],
    ],
  ])("refuses a volume that %s", async (_, mounts) => {
    await pack();
    await expect(putBackVolumes({ copyDir, note: captured, spec: spec(...mounts()) })).rejects.toMatchObject({
      code: "RestoreFailed",
    });
  });

  it.each<[string, string[], string[]]>([
    ["one volume where there were two", ["a", "b"], ["a", "a"]],
    ["two volumes where there was one", ["a", "a"], ["a", "b"]],
  ])("refuses %s", async (_, then, now) => {
    const both = ["/one", "/two"].map((destination, at) => ({ destination, name: then[at]! }));
    const mounts = both.map(({ destination }, at) => bind(destination, emptyDir(now[at]!)));
    await expect(
      putBackVolumes({ copyDir, note: { captured: both }, spec: spec(...mounts) }),
    ).rejects.toThrow(/mounted otherwise/);
  });

  it("removes what an earlier one could not remove to its end", async () => {
    const data = emptyDir("data");
    mkdirSync(join(data, ".kcr-gone", "left"), { recursive: true });
    writeFileSync(join(data, ".kcr-before"), "a file in its place");
    writeFileSync(join(data, "since"), "");
    await pack();
    (await putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) })).keep();
    expect(readdirSync(data)).toEqual([]);
  });

  it("stays in the volume when a container of the pod puts a link in the way of it", async () => {
    const data = emptyDir("data");
    const outside = join(base, "outside");
    mkdirSync(join(outside, "dir"), { recursive: true });
    await pack(
      { name: "data/dir/", type: "directory" },
      { name: "data/dir/pipe", type: "fifo" },
      { name: "data/dir/file", content: "x" },
    );
    // Called between two entries: what a process of the pod could do at that moment.
    const tools: Tools = {
      makeNode: (path) => {
        renameSync(join(data, "dir"), join(data, "moved"));
        symlinkSync(join(outside, "dir"), join(data, "dir"));
        execFileSync("mkfifo", [path]);
      },
      setAttribute: () => true,
    };
    await expect(
      putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)), tools }),
    ).rejects.toMatchObject({ code: "ArchiveInvalid" });
    expect(readdirSync(join(outside, "dir"))).toEqual([]);
    expect(readdirSync(data)).toEqual([]);
  });

  it("says that the disk is full, and the volume is as it was", async () => {
    const data = emptyDir("data");
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", data]);
    try {
      writeFileSync(join(data, "before"), "x");
      await pack({ name: "data/large", content: Buffer.alloc(2 ** 20, "x") });
      await expect(
        putBackVolumes({ copyDir, note: captured, spec: spec(bind("/data", data)) }),
      ).rejects.toMatchObject({ code: "DiskFull" });
      expect(readdirSync(data)).toEqual(["before"]);
    } finally {
      execFileSync("umount", [data]);
    }
  });
});
