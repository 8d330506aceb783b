import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  type CheckpointSpec,
  checkpointEntries,
  criuImage,
  type EntrySpec,
  makeTar,
  message,
} from "../../../test/support/archive.ts";
import { KcrError } from "../../api/errors.ts";
import { Layout } from "../../store/layout.ts";
import { scrub } from "../scrub.ts";
import type { Disk } from "./disk.ts";
import { LocalStore } from "./store.ts";
import type { ArchiveStream } from "./unpack.ts";

const never = new AbortController().signal;
/** Each copy waits for the disk a dozen times. */
const manySyncs = { timeout: 120_000 };
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

let root: string;
let store: LocalStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-store-"));
  store = new LocalStore(new Layout(root));
  await store.start();
});
afterEach(() => rm(root, { recursive: true }));

/** An archive that arrives in pieces of that size. */
const streamed = (tar: Buffer, digest?: string, pieces = 70_000): ArchiveStream => ({
  name: "a.tar",
  size: tar.length,
  digest,
  async *read() {
    for (let at = 0; at < tar.length; at += pieces) yield tar.subarray(at, at + pieces);
  },
});
const tarOf = (spec?: CheckpointSpec) => makeTar(checkpointEntries(spec));
const withEntries = (...more: EntrySpec[]) => tarOf({ more });

/** Everything in the store's directory, names relative to it. */
const everything = async () => (await readdir(root, { recursive: true })).sort();
/** Nothing of a copy, made or half-made. */
const expectEmpty = async () =>
  expect(await everything()).toEqual(["store", "store/blobs", "store/copies", "store/incoming", "store/tmp"]);

describe("a copy of an archive", () => {
  test.each([101, 512, 70_000])(
    "has its files, hashed, and an index of them: pieces of %i",
    async (pieces) => {
      const pages = Buffer.alloc(100_000, 7);
      const tar = await tarOf({ pages, more: [{ name: "rootfs-diff.tar", content: "diff" }] });
      const digest = sha256(tar);
      const index = await store.add(streamed(tar, digest, pieces), never);
      const directory = store.layout.copy(digest);
      expect(index).toMatchObject({ archive: digest, engine: "containerd", openForWriting: [], mounts: [] });
      expect(JSON.parse(await readFile(join(directory, "copy.json"), "utf8"))).toEqual(index);
      expect(index.files.find(({ path }) => path === "checkpoint/pages-1.img")).toEqual({
        path: "checkpoint/pages-1.img",
        size: 100_000,
        sha256: sha256(pages),
      });
      const onDisk = (await readdir(directory, { recursive: true })).filter((name) => name !== "checkpoint");
      expect(onDisk.sort()).toEqual([...index.files.map(({ path }) => path), "copy.json"].sort());
      expect(onDisk).toContain("rootfs-diff.tar");
      expect(onDisk).not.toContain("dump.log");
      const rest = await readFile(join(directory, "archive.rest"));
      expect(rest.length).toBe(
        tar.length - index.files.slice(0, -1).reduce((sum, { size }) => sum + size, 0),
      );
      expect(rest.includes("dump.log")).toBe(true);
      expect(rest.includes(pages.subarray(0, 600))).toBe(false);
      expect(await store.verify(digest, never)).toEqual([]);
      expect(await store.has(digest)).toBe(true);
      expect(await readdir(store.layout.tmp)).toEqual([]);
    },
  );

  test("tells what was open for writing, by descriptor or mapping, and which mounts must be there", async () => {
    const file = (id: number, path: string, flags: number, mode = 0o100644) =>
      message({ 1: 1, 2: id, 3: message({ 1: id, 2: flags, 3: 0, 6: Buffer.from(path), 10: mode }) });
    const vma = (file: number, prot: number, status: number) =>
      message({ 1: 0, 2: 4096, 3: 0, 4: file, 5: prot, 6: 1, 7: status });
    const mm = new Uint8Array([
      ...field14(vma(5, 3, 0x81)),
      ...field14(vma(6, 1, 0x81)),
      ...field14(vma(7, 3, 0x41)),
    ]);
    const spec = {
      annotations: {
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": "redis",
        "io.kubernetes.cri.sandbox-name": "redis-0",
        "io.kubernetes.cri.sandbox-namespace": "default",
      },
      mounts: [
        { destination: "/proc", type: "proc" },
        { destination: "/data", type: "bind", source: "/x" },
        { destination: "/etc/hosts", type: "none", options: ["rbind", "ro"] },
      ],
    };
    const tar = await withEntries(
      {
        name: "checkpoint/files.img",
        content: criuImage(
          [0x54564319, 0x56303138],
          [
            file(1, "/data/log", 0o101),
            file(2, "/data/db", 0o2),
            file(3, "/etc/passwd", 0),
            file(4, "/dev/null", 0o2, 0o20666),
            file(5, "/data/map", 0),
            file(6, "/data/read-only-map", 0),
            file(7, "/data/private-map", 0),
          ],
        ),
      },
      { name: "checkpoint/mm-1.img", content: criuImage([0x54564319, 0x57492820], [mm]) },
      { name: "spec.dump", content: JSON.stringify(spec) },
    );
    const index = await store.add(streamed(tar), never);
    expect(index.openForWriting).toEqual(["/data/db", "/data/log", "/data/map"]);
    expect(index.mounts).toEqual(["/data", "/etc/hosts"]);
  });
});

/** A field of number 14, which comes more than once. */
function field14(content: Uint8Array): Uint8Array {
  return message({ 14: content });
}

describe("copies of several archives", () => {
  const shared = Buffer.alloc(50_000, 1);
  const archives = () => Promise.all(["a", "b"].map((name) => tarOf({ containerName: name, pages: shared })));

  test("share equal files, and the last to go takes them along", async () => {
    const [a, b] = await archives();
    await store.add(streamed(a!), never);
    const alone = await store.usedBytes();
    await store.add(streamed(b!), never);
    expect(await store.usedBytes()).toBeLessThan(alone + shared.length);
    const pages = await stat(join(store.layout.copy(sha256(a!)), "checkpoint/pages-1.img"));
    expect(pages.nlink).toBe(3);

    await store.remove(sha256(a!));
    expect(await store.verify(sha256(b!), never)).toEqual([]);
    expect(await store.list()).toMatchObject([{ digest: sha256(b!), corrupt: false }]);
    await store.remove(sha256(b!));
    await store.remove(sha256(b!));
    await expectEmpty();
  });

  test("do not share content that has become damaged", async () => {
    const [a, b] = await archives();
    await store.add(streamed(a!), never);
    await flip(join(store.layout.copy(sha256(a!)), "checkpoint/pages-1.img"));
    await store.add(streamed(b!), never);
    expect(await store.verify(sha256(b!), never)).toEqual([]);
    expect(await store.verify(sha256(a!), never)).toHaveLength(1);
    // Made anew it takes the place of the damaged one.
    await store.markCorrupt(sha256(a!), "found by a test");
    expect(await store.has(sha256(a!))).toBe(false);
    await store.add(streamed(a!), never);
    expect(await store.has(sha256(a!))).toBe(true);
    expect(await store.verify(sha256(a!), never)).toEqual([]);
    expect(await readdir(store.layout.tmp)).toEqual([]);
  });
});

async function flip(path: string, at = 100): Promise<void> {
  await using file = await fs.open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, at);
}

describe("verification finds", () => {
  test.each([
    ["a flipped bit", (path: string) => flip(path), /sha256/],
    ["a file cut short", (path: string) => fs.truncate(path, 5), /5 bytes, not 4096/],
    ["a file that is gone", (path: string) => rm(path), /gone/],
    [
      "a link in a file's place",
      async (path: string) => {
        await rm(path);
        await fs.symlink("/etc/passwd", path);
      },
      /no regular file/,
    ],
  ])("%s", async (_what, damage, problem) => {
    const tar = await tarOf();
    await store.add(streamed(tar), never);
    await damage(join(store.layout.copy(sha256(tar)), "checkpoint/pages-1.img"));
    const problems = await store.verify(sha256(tar), never);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^checkpoint\/pages-1\.img: /);
    expect(problems[0]).toMatch(problem);
  });

  test("an index that cannot be read", async () => {
    const tar = await tarOf();
    await store.add(streamed(tar), never);
    await writeFile(join(store.layout.copy(sha256(tar)), "copy.json"), "{");
    expect(await store.verify(sha256(tar), never)).toEqual(["copy.json cannot be read"]);
    expect(await store.list()).toMatchObject([{ digest: sha256(tar), corrupt: true, index: undefined }]);
    await store.remove(sha256(tar));
    await expectEmpty();
  });
});

test("a copy of an agent of a later version is not taken for a damaged one, and is removed like any other", async () => {
  const tar = await tarOf();
  await store.add(streamed(tar), never);
  await writeFile(join(store.layout.copy(sha256(tar)), "copy.json"), JSON.stringify({ version: 99 }));
  expect(await store.list()).toMatchObject([{ corrupt: false, index: undefined }]);
  expect(await store.has(sha256(tar))).toBe(true);
  expect(await scrub(store, never)).toMatchObject({ checked: 1, corrupt: [] });
  await store.remove(sha256(tar));
  await expectEmpty();
});

test("a scrub reads all copies and marks those that are damaged; one that is removed meanwhile is no matter", async () => {
  const [a, b] = await Promise.all(["a", "b"].map((containerName) => tarOf({ containerName })));
  await store.add(streamed(a!), never);
  await store.add(streamed(b!), never);
  expect(await scrub(store, never)).toEqual({ checked: 2, corrupt: [] });
  await flip(join(store.layout.copy(sha256(b!)), "spec.dump"));
  const { checked, corrupt } = await scrub(store, never);
  expect(checked).toBe(2);
  expect(corrupt.map(({ copy }) => copy)).toEqual([sha256(b!)]);
  expect(corrupt[0]!.problems[0]).toMatch(/^spec\.dump: its sha256/);
  expect(await store.has(sha256(a!))).toBe(true);
  expect(await store.has(sha256(b!))).toBe(false);
  expect(await readFile(join(store.layout.copy(sha256(b!)), "corrupt"), "utf8")).toContain("spec.dump");
  await store.remove(sha256(b!));
  expect(await store.verify(sha256(b!), never)).toEqual([]);
  await store.markCorrupt(sha256(b!), "too late");
  expect(await store.list()).toHaveLength(1);
});

describe("an archive is refused, and leaves nothing behind,", () => {
  afterEach(expectEmpty);
  const refused = (archive: ArchiveStream) =>
    expect(store.add(archive, never)).rejects.toMatchObject({ code: "ArchiveInvalid" });

  test("whose bits are not those that were recorded", async () => {
    const tar = await tarOf();
    const digest = sha256(tar);
    tar[tar.indexOf("redis-server")]! ^= 1;
    await refused(streamed(tar, digest));
  });

  test("that is cut off, wherever", async () => {
    const tar = await tarOf({ pages: Buffer.alloc(8192) });
    for (let length = tar.length - 1024; length > 0; length -= 1499) {
      await refused(streamed(tar.subarray(0, length)));
    }
  });

  test.each([
    "config.dump",
    "spec.dump",
    "checkpoint/inventory.img",
    "checkpoint/pstree.img",
    "checkpoint/core-1.img",
    "checkpoint/files.img",
  ])("without %s", async (name) => refused(streamed(await tarOf({ without: [name] }))));

  test("of an engine that no node restores with", async () =>
    refused(streamed(await tarOf({ engine: "podman" }))));

  test.each([
    ["symlink", { name: "checkpoint/pages-1.img", type: "symlink", linkname: "/etc/passwd" }],
    ["link", { name: "checkpoint/pages-1.img", type: "link", linkname: "config.dump" }],
    ["directory", { name: "spec.dump", type: "directory" }],
    ["device", { name: "rootfs-diff.tar", type: "character-device", devmajor: 1, devminor: 3 }],
  ] as const)("with a %s where a file should be", async (_what, entry) =>
    refused(streamed(await withEntries(entry))),
  );

  test("when the disk holds something else than it was given", async () => {
    const lying: Disk = {
      ...fs,
      open: async (path, flags, mode) => {
        const file = await fs.open(path, flags, mode);
        if (flags !== "wx" || !String(path).endsWith("pages-1.img")) return file;
        const write = file.writeFile.bind(file);
        file.writeFile = (bytes) => write(Buffer.alloc((bytes as Uint8Array).length));
        return file;
      },
    };
    const adding = new LocalStore(store.layout, lying).add(streamed(await tarOf()), never);
    await expect(adding).rejects.toMatchObject({ code: "CopyCorrupt" });
  });

  test("that is another's", async () => {
    const why = new KcrError("ArchiveInvalid", "of another container");
    const seen: unknown[] = [];
    const adding = store.add(streamed(await tarOf()), never, (identity) => {
      seen.push(identity.podName);
      throw why;
    });
    await expect(adding).rejects.toBe(why);
    expect(seen).toEqual(["redis-0"]);
  });

  test("when its stream breaks, or nobody wants it any more", async () => {
    const tar = await tarOf();
    const broken = async function* () {
      yield tar.subarray(0, 5000);
      throw new Error("connection reset");
    };
    await expect(store.add({ ...streamed(tar), read: broken }, never)).rejects.toThrow("connection reset");
    const stop = new AbortController();
    const stopped = async function* () {
      yield tar.subarray(0, 5000);
      stop.abort(new Error("stopped"));
      yield tar.subarray(5000);
    };
    await expect(store.add({ ...streamed(tar), read: stopped }, stop.signal)).rejects.toThrow("stopped");
  });
});

test("names that lead elsewhere are passed over, whatever they are", manySyncs, async () => {
  const elsewhere = await mkdtemp(join(tmpdir(), "kcr-elsewhere-"));
  const piece = fc.constantFrom(
    "..",
    ".",
    "",
    "checkpoint",
    "a",
    "copy.json",
    "archive.rest",
    "corrupt",
    elsewhere,
    "é".repeat(200),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 5 }), async (pieces) => {
      const name = pieces.join("/");
      const tar = await withEntries({ name, content: "x" });
      const before = await readdir(elsewhere);
      const index = await store.add(streamed(tar), never).catch((error: KcrError) => {
        expect(error.code).toBe("ArchiveInvalid");
        return undefined;
      });
      for (const { path } of index?.files ?? []) {
        expect(path).toMatch(/^(config\.dump|spec\.dump|status\.dump|checkpoint\/[^/]+|archive\.rest)$/);
      }
      if (index) {
        expect(await store.verify(index.archive, never)).toEqual([]);
        expect((await readdir(store.layout.copy(index.archive))).sort()).toEqual([
          "archive.rest",
          "checkpoint",
          "config.dump",
          "copy.json",
          "spec.dump",
          "status.dump",
        ]);
        await store.remove(index.archive);
      }
      expect(await readdir(elsewhere)).toEqual(before);
      await expectEmpty();
    }),
    { numRuns: 50 },
  );
  await rm(elsewhere, { recursive: true });
});

test("an archive with any bytes changed becomes a copy of what it is, or nothing", manySyncs, async () => {
  const good = await tarOf();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) }), { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(good.length - 1)),
      async (changes, cut) => {
        const bad = Buffer.from(good);
        for (const { at, byte } of changes) bad[at] = byte;
        const archive = streamed(cut === null ? bad : bad.subarray(0, cut));
        try {
          const { archive: digest } = await store.add(archive, never);
          expect(await store.verify(digest, never)).toEqual([]);
          await store.remove(digest);
        } catch (error) {
          expect((error as KcrError).code).toBe("ArchiveInvalid");
        }
        await expectEmpty();
      },
    ),
    { numRuns: 100 },
  );
});

test("a disk that is full is named, with what did not fit, and has as much room as before", async () => {
  const small = join(root, "small");
  await mkdir(small);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", small]);
  try {
    const full = new LocalStore(new Layout(small));
    await full.start();
    const free = await full.freeBytes();
    const tar = await tarOf({ pages: Buffer.alloc(2 ** 20) });
    const message = expect.stringContaining(`${small} has no room for a copy of ${tar.length} bytes`);
    await expect(full.add(streamed(tar), never)).rejects.toMatchObject({ code: "DiskFull", message });
    // Its size is not always what it takes: then the disk says so when it is full.
    const unknown = { ...streamed(tar), size: 0 };
    await expect(full.add(unknown, never)).rejects.toMatchObject({ code: "DiskFull" });
    expect(await full.freeBytes()).toBe(free);
    expect(await full.list()).toEqual([]);
    const smaller = await tarOf();
    await full.add(streamed(smaller), never);
    expect(await full.verify(sha256(smaller), never)).toEqual([]);
  } finally {
    execFileSync("umount", [small]);
  }
});

describe("killed at any point", manySyncs, () => {
  /** A disk of which every call from the n-th on fails, as for a process that is no more. */
  function dyingDisk(calls: number): Disk & { died: boolean } {
    const disk = { died: false } as Disk & { died: boolean };
    let left = calls;
    for (const [name, call] of Object.entries(fs)) {
      if (typeof call !== "function") continue;
      Object.assign(disk, {
        [name]: (...args: unknown[]) => {
          if (left-- <= 0) {
            disk.died = true;
            throw new Error("killed");
          }
          return (call as (...args: unknown[]) => unknown)(...args);
        },
      });
    }
    return disk;
  }
  /** Does it on a disk that dies after one call more each time, until it is done before that. */
  async function atEveryPoint(
    before: () => Promise<void>,
    act: (store: LocalStore) => Promise<unknown>,
    after: (store: LocalStore) => Promise<void>,
  ): Promise<void> {
    for (let calls = 0; ; calls++) {
      await rm(join(root, "store"), { recursive: true });
      await store.start();
      await before();
      const disk = dyingDisk(calls);
      await act(new LocalStore(store.layout, disk)).catch(() => {});
      const next = new LocalStore(store.layout);
      await next.start();
      expect(await readdir(next.layout.tmp)).toEqual([]);
      for (const { digest, corrupt } of await next.list()) {
        if (!corrupt) expect(await next.verify(digest, never)).toEqual([]);
      }
      const blobs = await readdir(next.layout.blobs);
      for (const blob of blobs) expect((await stat(next.layout.blob(blob))).nlink).toBeGreaterThan(1);
      await after(next);
      if (!disk.died) return expect(calls).toBeGreaterThan(5);
    }
  }

  test("making a copy leaves a whole one or none", async () => {
    const tar = await tarOf();
    let made = 0;
    await atEveryPoint(
      async () => {},
      (dying) => dying.add(streamed(tar), never),
      async (next) => {
        made = (await next.list()).length;
      },
    );
    expect(made).toBe(1);
  });

  test("making a damaged copy anew leaves the new one, or one that is known to be damaged", async () => {
    const tar = await tarOf();
    await atEveryPoint(
      async () => {
        await store.add(streamed(tar), never);
        await flip(join(store.layout.copy(sha256(tar)), "checkpoint/pages-1.img"));
        await store.markCorrupt(sha256(tar), "found by a test");
      },
      (dying) => dying.add(streamed(tar), never),
      async () => {},
    );
    expect(await store.has(sha256(tar))).toBe(true);
  });

  test("removing a copy leaves it whole or away, and the one that shares its files whole", async () => {
    const [a, b] = await Promise.all(["a", "b"].map((containerName) => tarOf({ containerName })));
    await atEveryPoint(
      async () => {
        await store.add(streamed(a!), never);
        await store.add(streamed(b!), never);
      },
      (dying) => dying.remove(sha256(a!)),
      async (next) => expect(await next.verify(sha256(b!), never)).toEqual([]),
    );
    expect((await store.list()).map(({ digest }) => digest)).toEqual([sha256(b!)]);
  });
});

test("knows whether the agent before ended as it should", async () => {
  expect(await store.wasCleanlyStopped()).toBe(false);
  await store.markCleanStop();
  expect(await store.wasCleanlyStopped()).toBe(true);
  expect(await store.wasCleanlyStopped()).toBe(false);
});
