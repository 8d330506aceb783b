import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { appendFile, copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type CheckpointSpec, checkpointEntries, makeTar } from "../../../test/support/archive.ts";
import { KcrError } from "../../api/errors.ts";
import { type CopyFile, type CopyIndex, contentDigest } from "../../store/copy.ts";
import { Layout } from "../../store/layout.ts";
import type { Disk } from "./disk.ts";
import { LocalStore } from "./store.ts";

const never = new AbortController().signal;
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

let root: string;
/** Another node's store, and this one's. */
let theirs: LocalStore;
let store: LocalStore;
/** Paths of the files that were fetched. */
let fetched: string[];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-incoming-"));
  theirs = new LocalStore(new Layout(join(root, "theirs")));
  store = new LocalStore(new Layout(join(root, "ours")));
  await theirs.start();
  await store.start();
  fetched = [];
});
afterEach(() => rm(root, { recursive: true }));

async function theirCopy(spec: CheckpointSpec = {}): Promise<CopyIndex> {
  const tar = await makeTar(checkpointEntries(spec));
  const read = async function* () {
    yield tar;
  };
  return await theirs.add({ name: "a.tar", size: tar.length, read }, never);
}
const incomingOf = ({ archive, files }: CopyIndex) => ({ name: "node theirs", archive, files });
const fetchFrom =
  (index: CopyIndex) =>
  async (file: CopyFile, path: string): Promise<void> => {
    fetched.push(file.path);
    await copyFile(join(theirs.layout.copy(index.archive), file.path), path);
  };
const take = (index: CopyIndex, into = store) => into.addFiles(incomingOf(index), fetchFrom(index), never);
const namesIn = async (...path: string[]) => (await readdir(join(store.layout.root, ...path))).sort();

describe("a copy of files that come one by one", () => {
  test("is the very copy that the other node has", async () => {
    const index = await theirCopy({ more: [{ name: "rootfs-diff.tar", content: "diff" }] });
    const identities: unknown[] = [];
    const own = await store.addFiles(incomingOf(index), fetchFrom(index), never, (identity) => {
      identities.push(identity);
    });
    expect(own).toEqual(index);
    expect(contentDigest(own)).toBe(contentDigest(index));
    expect(identities).toMatchObject([{ containerName: "redis" }]);
    expect(await store.has(index.archive)).toBe(true);
    expect(await store.verify(index.archive, never)).toEqual([]);
    expect(fetched.sort()).toEqual(index.files.map(({ path }) => path).sort());
    expect(await namesIn("store", "incoming")).toEqual([]);
    expect(await namesIn("store", "tmp")).toEqual([]);
    const path = "checkpoint/pages-1.img";
    const [a, b] = await Promise.all(
      [theirs, store].map(({ layout }) => readFile(join(layout.copy(index.archive), path))),
    );
    expect(a).toEqual(b);
  });

  test("has no content fetched twice, nor what another copy has already", async () => {
    const pages = Buffer.alloc(10_000, 3);
    const first = await theirCopy({ pages });
    await take(first);
    fetched = [];
    const twins = ["a", "b"].map((stem) => ({ name: `checkpoint/${stem}.img`, content: "twins" }));
    const second = await theirCopy({ pages, containerName: "other", more: twins });
    await take(second);
    expect(fetched).not.toContain("checkpoint/pages-1.img");
    expect(fetched.filter((path) => /[ab]\.img$/.test(path))).toHaveLength(1);
    for (const { archive } of [first, second]) expect(await store.verify(archive, never)).toEqual([]);
    const inode = async (index: CopyIndex, path: string) =>
      (await stat(join(store.layout.copy(index.archive), path))).ino;
    expect(await inode(second, "checkpoint/a.img")).toBe(await inode(second, "checkpoint/b.img"));
    expect(await inode(second, "checkpoint/pages-1.img")).toBe(await inode(first, "checkpoint/pages-1.img"));

    await store.remove(first.archive);
    await store.remove(second.archive);
    expect(await namesIn("store", "blobs")).toEqual([]);
  });

  test("has content fetched that another copy has, but damaged; that copy is not touched", async () => {
    const pages = Buffer.alloc(10_000, 3);
    const first = await theirCopy({ pages });
    await take(first);
    const blob = store.layout.blob(sha256(pages));
    await appendFile(blob, "x");
    const second = await theirCopy({ pages, containerName: "other" });
    await take(second);
    expect(fetched.filter((path) => path === "checkpoint/pages-1.img")).toHaveLength(2);
    expect(await store.verify(second.archive, never)).toEqual([]);
    expect(await store.verify(first.archive, never)).toHaveLength(1);
  });

  test("goes on with what came before, also of an earlier process, and takes no shared file for it", async () => {
    const pages = Buffer.alloc(10_000, 3);
    const first = await theirCopy({ pages });
    await take(first);
    const last = { name: "checkpoint/zz.img", content: "the last" };
    const second = await theirCopy({ pages, containerName: "other", more: [last] });
    let seen = 0;
    const broken = store.addFiles(
      incomingOf(second),
      async (file, path) => {
        if (file.path === last.name) {
          await writeFile(path, "the beginning");
          throw new Error("cut");
        }
        await fetchFrom(second)(file, path);
      },
      never,
    );
    await expect(broken).rejects.toThrow("cut");
    expect(await store.has(second.archive)).toBe(false);
    expect((await store.incoming()).map(({ archive }) => archive)).toEqual([second.archive]);

    const next = new LocalStore(store.layout);
    await next.start();
    // The content that was shared goes bad meanwhile: it is fetched, and not written into.
    await appendFile(store.layout.blob(sha256(pages)), "x");
    await next.addFiles(
      incomingOf(second),
      async (file, path) => {
        const before = await readFile(path, "utf8").catch(() => undefined);
        if (file.path === last.name) expect(before).toBe("the beginning");
        if (file.path === "checkpoint/pages-1.img") expect(before).toBeUndefined();
        seen += 1;
        await fetchFrom(second)(file, path);
      },
      never,
    );
    expect(seen).toBeGreaterThan(1);
    expect(await next.verify(second.archive, never)).toEqual([]);
    expect((await stat(store.layout.blob(sha256(pages)))).size).toBe(pages.length);
  });

  test("is none when a file is not what it should be, is missing, or of another container", async () => {
    const index = await theirCopy();
    const wrong = store.addFiles(incomingOf(index), (_, path) => writeFile(path, "wrong"), never);
    await expect(wrong).rejects.toMatchObject({ code: "ArchiveInvalid" });
    await expect(store.addFiles(incomingOf(index), async () => {}, never)).rejects.toThrow("ENOENT");
    const files = index.files.filter(({ path }) => path !== "spec.dump");
    await expect(
      store.addFiles({ ...incomingOf(index), files }, fetchFrom(index), never),
    ).rejects.toMatchObject({ code: "ArchiveInvalid" });
    await expect(
      store.addFiles(incomingOf(index), fetchFrom(index), never, () => {
        throw new KcrError("ArchiveInvalid", "another container's");
      }),
    ).rejects.toThrow("another container's");
    expect(await store.list()).toEqual([]);
    expect(await namesIn("store", "tmp")).toEqual([]);
    expect(await namesIn("store", "incoming")).toEqual([]);
    expect(await namesIn("store", "blobs")).toEqual([]);
  });

  test("takes no list of files that no archive has: names, doubles, numbers, sizes", async () => {
    const index = await theirCopy();
    const given = (path: string, size = 1) => ({ path, size, sha256: sha256(path) });
    const lists: CopyFile[][] = [
      [given("copy.json")],
      [given("corrupt")],
      [given("../outside")],
      [given("checkpoint/a/b")],
      [given("checkpoint")],
      [given(`checkpoint/${"x".repeat(256)}`)],
      [given("checkpoint/a"), given("checkpoint/a")],
      Array.from({ length: 100_001 }, (_, n) => given(`checkpoint/${n}`)),
    ];
    for (const files of lists) {
      const adding = store.addFiles({ ...incomingOf(index), files }, fetchFrom(index), never);
      await expect(adding).rejects.toMatchObject({ code: "ArchiveInvalid" });
    }
    const huge = [given("checkpoint/a", Number.MAX_SAFE_INTEGER), given("checkpoint/b", 2 ** 52)];
    const adding = store.addFiles({ ...incomingOf(index), files: huge }, fetchFrom(index), never);
    await expect(adding).rejects.toMatchObject({ code: "DiskFull" });
    expect(fetched).toEqual([]);
    expect(await namesIn("store", "incoming")).toEqual([]);
  });

  test("killed at any point is whole or not there, and the next try makes it", {
    timeout: 120_000,
  }, async () => {
    const index = await theirCopy();
    for (let calls = 0; ; calls += 2) {
      await rm(join(store.layout.root, "store"), { recursive: true });
      await store.start();
      const disk = dyingDisk(calls);
      await take(index, new LocalStore(store.layout, disk)).catch(() => {});
      const next = new LocalStore(store.layout);
      await next.start();
      for (const { digest } of await next.list()) expect(await next.verify(digest, never)).toEqual([]);
      if (!(await next.has(index.archive))) await take(index, next);
      expect(await next.verify(index.archive, never)).toEqual([]);
      await next.dropIncoming(index.archive);
      await next.remove(index.archive);
      expect(await namesIn("store", "blobs")).toEqual([]);
      if (!disk.died) return expect(calls).toBeGreaterThan(20);
    }
  });
});

/** A disk of which every call from the n-th on fails, as for a process that is no more. */
function dyingDisk(calls: number): Disk & { died: boolean } {
  const disk = { died: false } as Disk & { died: boolean };
  let left = calls;
  for (const [name, call] of Object.entries(fs)) {
    if (typeof call !== "function") continue;
    Object.assign(disk, {
      [name]: (...args: unknown[]) => {
        if (left-- > 0) return (call as (...args: unknown[]) => unknown)(...args);
        disk.died = true;
        throw new Error("killed");
      },
    });
  }
  return disk;
}

test("the digest of a copy's content is the same for any order, and another for any other content", async () => {
  const index = await theirCopy();
  const digest = contentDigest(index);
  expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  const { archive, files } = index;
  expect(contentDigest({ archive: sha256("other"), files })).not.toBe(digest);
  fc.assert(
    fc.property(
      fc.shuffledSubarray(files),
      fc.nat(files.length - 1),
      fc.constantFrom("path", "size", "sha256"),
      (some, at, field) => {
        expect(contentDigest({ archive, files: some }) === digest).toBe(some.length === files.length);
        const changed = files.map((file, n) =>
          n !== at
            ? file
            : { ...file, [field]: field === "size" ? file.size + 1 : `${file[field as "path"]}x` },
        );
        expect(contentDigest({ archive, files: changed })).not.toBe(digest);
      },
    ),
  );
});
