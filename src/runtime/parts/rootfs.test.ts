import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EntrySpec, makeTar } from "../../../test/support/archive.ts";
import type { Tools } from "./extract.ts";
import { applyRootfsDiff } from "./rootfs.ts";

let base: string;
let rootfs: string;
let copyDir: string;
/** A file beside the root file system, which nothing may touch. */
let canary: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-rootfs-"));
  rootfs = join(base, "rootfs");
  copyDir = join(base, "copy");
  canary = join(base, "outside", "canary");
  for (const dir of [rootfs, copyDir, join(base, "outside")]) mkdirSync(dir);
  writeFileSync(canary, "alive");
});

afterEach(() => rmSync(base, { recursive: true, force: true }));

const pack = async (entries: readonly EntrySpec[], compress: (tar: Buffer) => Buffer = gzipSync) =>
  writeFileSync(join(copyDir, "rootfs-diff.tar"), compress(await makeTar(entries)));

const apply = (options: Partial<Parameters<typeof applyRootfsDiff>[0]> = {}) =>
  applyRootfsDiff({ copyDir, engine: "containerd", rootfs, ...options });

const at = (...parts: string[]) => join(rootfs, ...parts);

describe("a layer of containerd's", () => {
  it("brings files with owner, mode and time, whatever it is packed with", async () => {
    const entries: EntrySpec[] = [
      { name: "srv/", type: "directory", mode: 0o2750, uid: 7, gid: 8, mtime: new Date(1000_000) },
      { name: "srv/tool", mode: 0o4755, uid: 12, gid: 34, mtime: new Date(2000_000), content: "new" },
      { name: "srv/link", type: "symlink", linkname: "/no/where", uid: 5, gid: 6, mtime: new Date(3000_000) },
    ];
    for (const compress of [gzipSync, zstdCompressSync, (tar: Buffer) => tar]) {
      rmSync(at("srv"), { recursive: true, force: true });
      mkdirSync(at("srv"));
      writeFileSync(at("srv", "tool"), "old, and longer");
      await pack(entries, compress);
      expect(await apply()).toMatchObject({ files: 1, directories: 1, symlinks: 1, removed: 1, leftOut: [] });
      expect(readFileSync(at("srv", "tool"), "utf8")).toBe("new");
      expect(readlinkSync(at("srv", "link"))).toBe("/no/where");
      expect(lstatSync(at("srv", "tool"))).toMatchObject({ mode: 0o104755, uid: 12, gid: 34, mtimeMs: 2e6 });
      expect(lstatSync(at("srv", "link"))).toMatchObject({ uid: 5, gid: 6, mtimeMs: 3e6 });
      expect(lstatSync(at("srv"))).toMatchObject({ mode: 0o42750, uid: 7, gid: 8, mtimeMs: 1e6 });
    }
  });

  it("takes away what it whites out: files, trees, links and not what they lead to", async () => {
    mkdirSync(at("a", "deep", "er"), { recursive: true });
    writeFileSync(at("a", "deep", "er", "file"), "");
    writeFileSync(at("a", "kept"), "");
    symlinkSync(join(base, "outside"), at("a", "way-out"));
    await pack([
      { name: "a/.wh.deep" },
      { name: "a/.wh.way-out", content: "and something in it" },
      { name: "a/.wh.never-there" },
    ]);
    expect(await apply()).toMatchObject({ removed: 4 });
    expect(readdirSync(at("a"))).toEqual(["kept"]);
    expect(readFileSync(canary, "utf8")).toBe("alive");
  });

  it.each(["before", "after"])(
    "empties an opaque directory of what is not the layer's own (mark %s)",
    async (when) => {
      mkdirSync(at("etc", "conf.d", "old"), { recursive: true });
      writeFileSync(at("etc", "conf.d", "of-the-image"), "");
      const own: EntrySpec[] = [
        { name: "etc/conf.d/", type: "directory" },
        { name: "etc/conf.d/own", content: "1" },
        { name: "etc/conf.d/old/", type: "directory" },
      ];
      writeFileSync(at("etc", "conf.d", "old", "file"), "");
      const mark: EntrySpec = { name: "etc/conf.d/.wh..wh..opq" };
      await pack(when === "before" ? [mark, ...own] : [...own, mark]);
      await apply();
      expect(readdirSync(at("etc", "conf.d")).sort()).toEqual(["old", "own"]);
      expect(readdirSync(at("etc", "conf.d", "old"))).toEqual([]);
    },
  );

  it("replaces a file by an empty directory, a directory by a file, and a link by either", async () => {
    writeFileSync(at("was-file"), "");
    mkdirSync(at("was-directory", "full"), { recursive: true });
    symlinkSync(join(base, "outside"), at("was-link"));
    symlinkSync(canary, at("was-link-too"));
    await pack([
      { name: "was-file/", type: "directory" },
      { name: "was-directory", content: "file" },
      { name: "was-link/", type: "directory" },
      { name: "was-link/canary", content: "inside" },
      { name: "was-link-too", content: "file" },
    ]);
    await apply();
    expect(readdirSync(at("was-file"))).toEqual([]);
    expect(readFileSync(at("was-directory"), "utf8")).toBe("file");
    expect(readFileSync(at("was-link", "canary"), "utf8")).toBe("inside");
    expect(readFileSync(at("was-link-too"), "utf8")).toBe("file");
    expect(readFileSync(canary, "utf8")).toBe("alive");
  });

  it("links files of the layer and of the image, in the place of what was there", async () => {
    writeFileSync(at("of-image"), "image");
    mkdirSync(at("taken"));
    writeFileSync(at("taken", "inner"), "inner");
    await pack([
      { name: "one", content: "layer" },
      { name: "two", type: "link", linkname: "one" },
      { name: "three", type: "link", linkname: "./of-image" },
      { name: "taken", type: "link", linkname: "taken/inner" },
    ]);
    expect(await apply()).toMatchObject({ files: 1, hardLinks: 3 });
    expect(lstatSync(at("two")).ino).toBe(lstatSync(at("one")).ino);
    expect(lstatSync(at("three")).ino).toBe(lstatSync(at("of-image")).ino);
    expect(readFileSync(at("taken"), "utf8")).toBe("inner");
    expect(readdirSync(rootfs).sort()).toEqual(["of-image", "one", "taken", "three", "two"]);
  });

  it("leaves holes in files where they are, and takes no room for them", async () => {
    const size = 8 * 1024 * 1024;
    const content = Buffer.alloc(size);
    content.write("middle", size / 2);
    await pack([
      { name: "some", content },
      { name: "none", content: Buffer.alloc(size) },
    ]);
    await apply();
    expect(readFileSync(at("some")).equals(content)).toBe(true);
    expect(lstatSync(at("none")).size).toBe(size);
    expect(lstatSync(at("none")).blocks).toBe(0);
    expect(lstatSync(at("some")).blocks * 512).toBeLessThan(size / 8);
  });

  it("makes pipes and devices, with their owner and mode", async () => {
    await pack([
      { name: "p\u00efpe", type: "fifo", mode: 0o620, uid: 3, gid: 4, mtime: new Date(5000_000) },
      { name: "null", type: "character-device", devmajor: 1, devminor: 3, mode: 0o666 },
    ]);
    expect(await apply()).toMatchObject({ nodes: 2 });
    expect(lstatSync(at("p\u00efpe"))).toMatchObject({ mode: 0o10620, uid: 3, gid: 4, mtimeMs: 5e6 });
    expect(lstatSync(at("null"))).toMatchObject({ mode: 0o20666, rdev: 0x103 });
  });

  it("says so when a node cannot make a device", async () => {
    await pack([{ name: "null", type: "character-device", devmajor: 1, devminor: 3 }]);
    const tools: Tools = {
      makeNode: () => {
        throw new Error("no mknod here");
      },
      setAttribute: () => false,
    };
    await expect(apply({ tools })).rejects.toMatchObject({ name: "PartError", code: "RestoreFailed" });
  });

  it("hands on the exact bytes of capabilities, and leaves out what an overlay would act on", async () => {
    const set: [string, string][] = [];
    const tools: Tools = {
      makeNode: () => {},
      setAttribute: (path, name, value) => {
        expect(lstatSync(path).isSymbolicLink()).toBe(true);
        set.push([name, value.toString("hex")]);
        return name !== "user.refused";
      },
    };
    const value = Buffer.from("0100000200ff8000000000000000000000000000", "hex");
    const record = (name: string, bytes: Buffer) => {
      const rest = Buffer.concat([Buffer.from(` SCHILY.xattr.${name}=`), bytes, Buffer.from("\n")]);
      return Buffer.concat([Buffer.from(String(rest.length + 2)), rest]);
    };
    const pax = Buffer.concat([
      record("security.capability", value),
      record("trusted.overlay.redirect", Buffer.from("/")),
      record("user.refused", Buffer.from("1")),
    ]);
    // tar-stream writes text only: the header is made as a file and its type changed, with the checksum.
    const tar = await makeTar([
      { name: "pax", content: pax },
      { name: "tool", content: "x" },
    ]);
    tar[156] = "x".charCodeAt(0);
    tar.fill(" ", 148, 156);
    const sum = tar.subarray(0, 512).reduce((all, byte) => all + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    writeFileSync(join(copyDir, "rootfs-diff.tar"), tar);
    const { leftOut } = await apply({ tools });
    expect(set).toEqual([
      ["security.capability", value.toString("hex")],
      ["user.refused", "31"],
    ]);
    expect(leftOut).toEqual([
      'extended attribute "trusted.overlay.redirect"',
      'extended attribute "user.refused"',
    ]);
  });

  it("is applied to an overlay as a runtime mounts it", async () => {
    const [lower, upper, work] = ["lower", "upper", "work"].map((name) => join(base, name));
    for (const dir of [`${lower}/bin/old`, upper!, work!]) mkdirSync(dir, { recursive: true });
    writeFileSync(`${lower}/bin/tool`, "image");
    writeFileSync(`${lower}/bin/old/file`, "image");
    writeFileSync(`${lower}/gone`, "image");
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync("mount", ["-t", "overlay", "-o", options, "overlay", rootfs]);
    try {
      await pack([
        { name: "./", type: "directory" },
        { name: ".wh.gone" },
        { name: "bin/", type: "directory" },
        { name: "bin/again", type: "link", linkname: "bin/tool" },
        { name: "bin/old", content: "now a file" },
        { name: "bin/new", type: "directory" },
        { name: "bin/pipe", type: "fifo" },
      ]);
      await apply();
      expect(readdirSync(rootfs)).toEqual(["bin"]);
      expect(readdirSync(at("bin")).sort()).toEqual(["again", "new", "old", "pipe", "tool"]);
      expect(readFileSync(at("bin", "again"), "utf8")).toBe("image");
      expect(readdirSync(`${lower}/bin`).sort()).toEqual(["old", "tool"]);
    } finally {
      execFileSync("umount", [rootfs]);
    }
  });

  it("changes nothing where there is none", async () => {
    expect(await apply()).toMatchObject({ files: 0, directories: 0, removed: 0 });
  });

  it("applies what GNU tar and a compressor wrote, long names and all", async () => {
    const from = join(base, "from");
    const long = join("d".repeat(120), "\u00fc".repeat(100));
    mkdirSync(join(from, "d".repeat(120)), { recursive: true });
    writeFileSync(join(from, long), "x".repeat(100_000));
    utimesSync(join(from, long), 1_700_000_000.25, 1_700_000_000.25);
    for (const format of ["gnu", "pax", "posix"]) {
      rmSync(rootfs, { recursive: true });
      mkdirSync(rootfs);
      execFileSync("tar", [`--format=${format}`, "-czf", join(copyDir, "rootfs-diff.tar"), "-C", from, "."]);
      await apply();
      expect(readFileSync(at(long), "utf8")).toHaveLength(100_000);
      const seconds = format === "gnu" ? 1_700_000_000 : 1_700_000_000.25;
      expect(lstatSync(at(long)).mtimeMs / 1000).toBeCloseTo(seconds, 3);
    }
  });
});

describe("a diff of CRI-O's", () => {
  it("brings the files and takes away those of its list; whiteouts are plain names there", async () => {
    mkdirSync(at("etc", "gone"), { recursive: true });
    writeFileSync(at("etc", "gone", "too"), "");
    await pack(
      [
        { name: "etc/new", content: "1" },
        { name: "etc/.wh.new", content: "2" },
      ],
      (tar) => tar,
    );
    writeFileSync(join(copyDir, "deleted.files"), JSON.stringify(["/etc/gone", "/etc/never"]));
    await apply({ engine: "cri-o" });
    expect(readdirSync(at("etc")).sort()).toEqual([".wh.new", "new"]);
  });

  it.each(['["/../outside"]', '["/"]', '["/."]', '"/etc"', "[1]", "{"])(
    "refuses the list %s",
    async (list) => {
      writeFileSync(join(copyDir, "deleted.files"), list);
      await expect(apply({ engine: "cri-o" })).rejects.toMatchObject({ code: "ArchiveInvalid" });
      expect(readFileSync(canary, "utf8")).toBe("alive");
    },
  );
});

describe("a hostile layer", () => {
  it.each<[string, EntrySpec]>([
    ["an absolute name", { name: "/abs", content: "x" }],
    ["a way up", { name: "a/../../outside/canary", content: "x" }],
    ["a whiteout of what is above", { name: "a/.wh..." }],
    ["a whiteout of itself", { name: "a/.wh.." }],
    ["a whiteout of nothing", { name: "a/.wh." }],
    ["something below a whiteout", { name: ".wh.a/b" }],
    ["a hard link to what is outside", { name: "x", type: "link", linkname: "../outside/canary" }],
    ["a hard link to an absolute name", { name: "x", type: "link", linkname: "/etc/passwd" }],
    ["a hard link through a link", { name: "x", type: "link", linkname: "way-out/canary" }],
    ["a hard link to a directory", { name: "x", type: "link", linkname: "dir" }],
    ["a hard link to itself", { name: "dir/f", type: "link", linkname: "dir/f" }],
    ["a file through a link", { name: "way-out/canary", content: "x" }],
    ["a directory through a link", { name: "way-out/new/", type: "directory" }],
    ["a whiteout through a link", { name: "way-out/.wh.canary" }],
    ["an opaque mark through a link", { name: "way-out/.wh..wh..opq" }],
    ["a file through a file", { name: "file/x", content: "x" }],
    ["a root that is a file", { name: "./", type: "symlink", linkname: "/" }],
    ["a name that is too long", { name: `${"n".repeat(256)}`, content: "x" }],
  ])("with %s touches nothing outside", async (_, entry) => {
    mkdirSync(at("dir"));
    writeFileSync(at("dir", "f"), "");
    writeFileSync(at("file"), "");
    symlinkSync("../outside", at("way-out"));
    await pack([entry]);
    const result = await apply().catch((error: unknown) => error);
    if (!entry.name.endsWith("opq")) expect(result).toMatchObject({ code: "ArchiveInvalid" });
    expect(readFileSync(canary, "utf8")).toBe("alive");
    expect(readdirSync(join(base, "outside"))).toEqual(["canary"]);
    expect(readdirSync(base).sort()).toEqual(["copy", "outside", "rootfs"]);
    expect(lstatSync(canary).nlink).toBe(1);
    expect(readlinkSync(at("way-out"))).toBe("../outside");
  });

  it.each([
    ["is cut short", (tar: Buffer) => tar.subarray(0, 700)],
    ["has a damaged header", (tar: Buffer) => Buffer.from(tar).fill("F", 0, 1)],
    ["has no end mark", (tar: Buffer) => tar.subarray(0, 1024)],
    ["is no tar", () => Buffer.alloc(1024, "x")],
    ["is empty", () => Buffer.alloc(0)],
    ["is cut short and gzip", (tar: Buffer) => gzipSync(tar).subarray(0, 40)],
    ["has a size beyond all", (tar: Buffer) => Buffer.from(tar).fill(0xff, 124, 136)],
  ])("that %s is refused", async (_, damage) => {
    await pack([{ name: "file", content: "x".repeat(400) }], damage);
    await expect(apply()).rejects.toMatchObject({ name: "PartError" });
  });

  it("never gets out, whatever its entries are", async () => {
    const part = fc.constantFrom(
      "a",
      "b",
      "..",
      ".",
      "",
      "out",
      ".wh.a",
      ".wh..wh..opq",
      ".wh.out",
      ".kcr-node",
    );
    const name = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
    const target = fc.oneof(name, fc.constantFrom("../outside", "/", FAR_UP, "../outside/canary"));
    const entry = fc.record({
      name,
      type: fc.constantFrom<EntrySpec["type"]>("file", "directory", "symlink", "link"),
      linkname: target,
      mode: fc.constantFrom(0o777, 0o4711),
    });
    const before = state(join(base, "outside"));
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 12 }), async (entries) => {
        rmSync(rootfs, { recursive: true });
        mkdirSync(rootfs);
        symlinkSync("../outside", at("out"));
        await pack(
          entries.map(({ type, linkname, ...rest }) => ({
            ...rest,
            type,
            ...(type === "file" ? { content: "evil" } : {}),
            ...(type === "link" || type === "symlink" ? { linkname: linkname || "x" } : {}),
          })),
          (tar) => tar,
        );
        await apply().catch((error: unknown) => expect(error).toMatchObject({ name: "PartError" }));
        expect(state(join(base, "outside"))).toBe(before);
        expect(readdirSync(base).sort()).toEqual(["copy", "outside", "rootfs"]);
      }),
      { numRuns: 300 },
    );
  });
});

it("stops when it is told to, with the signal's reason", async () => {
  await pack([{ name: "file", content: "x" }]);
  const reason = new Error("time is up");
  await expect(apply({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

const FAR_UP = "../../../../../../../tmp";

/** Everything that a change to a directory would change. */
function state(dir: string): string {
  const hash = createHash("sha256");
  for (const name of ["", ...readdirSync(dir).sort()]) {
    const { mode, uid, gid, nlink, mtimeMs, ctimeMs, size } = lstatSync(join(dir, name));
    hash.update(JSON.stringify([name, mode, uid, gid, nlink, mtimeMs, ctimeMs, size]));
  }
  return hash.digest("hex");
}
