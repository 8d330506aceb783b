import { createHash, randomBytes } from "node:crypto";
import { link, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BlockCache } from "./blocks.ts";
import { save } from "./save.ts";

const never = new AbortController().signal;
const content = randomBytes(300_000);
const digest = `sha256:${createHash("sha256").update(content).digest("hex")}`;

/** An archive far away, and from where it was asked for. */
function remoteOf(bytes = content, breakAfter = Number.POSITIVE_INFINITY) {
  const asked: number[] = [];
  return {
    asked,
    digest,
    size: content.length,
    async *stream(from: number): AsyncGenerator<Buffer> {
      asked.push(from);
      for (let at = from; at < bytes.length; at += 10_000) {
        if (at - from >= breakAfter) throw new Error("it broke off");
        yield bytes.subarray(at, at + 10_000);
      }
    },
  };
}

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-save-"));
  file = join(directory, "a.tar");
});
afterEach(() => rm(directory, { recursive: true }));

const isWhole = async (): Promise<boolean> => (await readFile(file)).equals(content);

describe("an archive", () => {
  test("is saved whole, for its owner alone, and under its own name at the end", async () => {
    const seen: number[] = [];
    await save(remoteOf(), { file, force: false, signal: never, onProgress: (done) => seen.push(done) });
    expect(await isWhole()).toBe(true);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).toEqual(["a.tar"]);
    expect(seen.at(-1)).toBe(content.length);
  });

  test("goes on from what is there", async () => {
    await expect(save(remoteOf(content, 100_000), { file, force: false, signal: never })).rejects.toThrow(
      "broke off",
    );
    expect(await readdir(directory)).toEqual(["a.tar.part"]);
    const remote = remoteOf();
    await save(remote, { file, force: false, signal: never });
    expect(remote.asked).toEqual([100_000]);
    expect(await isWhole()).toBe(true);
  });

  test.each([
    ["of something else", () => randomBytes(50_000)],
    ["too much", () => randomBytes(400_000)],
    ["just as much, and of something else", () => randomBytes(300_000)],
  ])("is fetched anew when what is there is %s", async (_, before) => {
    await writeFile(`${file}.part`, before());
    const remote = remoteOf();
    await save(remote, { file, force: false, signal: never });
    expect(await isWhole()).toBe(true);
    expect(remote.asked.at(-1)).toBe(0);
  });

  test("that is damaged is not taken, and nothing of it is kept", async () => {
    const damaged = Buffer.from(content);
    damaged[200_000]! ^= 1;
    const saving = save(remoteOf(damaged), { file, force: false, signal: never });
    await expect(saving).rejects.toMatchObject({ code: "DownloadDamaged" });
    expect(await readdir(directory)).toEqual(["a.tar.part"]);
    expect((await stat(`${file}.part`)).size).toBe(0);
  });

  test("takes no file's place unless it is told to", async () => {
    await writeFile(file, "mine");
    const remote = remoteOf();
    await expect(save(remote, { file, force: false, signal: never })).rejects.toMatchObject({
      code: "FileExists",
    });
    expect([await readFile(file, "utf8"), remote.asked]).toEqual(["mine", []]);
    await save(remote, { file, force: true, signal: never });
    expect(await isWhole()).toBe(true);
  });

  test("is written into no other file, where somebody has put a link in its place", async () => {
    const other = join(directory, "other");
    await writeFile(other, "mine");
    for (const put of [symlink, link]) {
      await put(other, `${file}.part`);
      const saving = save(remoteOf(), { file, force: true, signal: never });
      await expect(saving).rejects.toMatchObject({ code: "FileExists" });
      expect(await readFile(other, "utf8")).toBe("mine");
      await rm(`${file}.part`);
    }
  });

  test("is for its owner alone, also where others could read what was there", async () => {
    await writeFile(`${file}.part`, content.subarray(0, 1000), { mode: 0o644 });
    await save(remoteOf(), { file, force: false, signal: never });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test("that nobody wants any more stays as far as it has come", async () => {
    const stop = new AbortController();
    const onProgress = (done: number) => done >= 50_000 && stop.abort(new Error("Ctrl-C"));
    const saving = save(remoteOf(), { file, force: false, signal: stop.signal, onProgress });
    await expect(saving).rejects.toThrow("Ctrl-C");
    const { size } = await stat(`${file}.part`);
    expect([size >= 50_000, size < content.length]).toEqual([true, true]);
  });
});

describe("small reads of what is far away", () => {
  test("are what is there, and fetch nothing twice", async () => {
    const bytes = randomBytes(3 * 1024 * 1024 + 77);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes.length), fc.nat(2_000_000)), { maxLength: 20 }),
        async (reads) => {
          const fetched: number[] = [];
          const cache = new BlockCache(bytes.length, async ({ from, end }) => {
            if (end - from <= 256 * 1024) fetched.push(from);
            return Buffer.from(bytes.subarray(from, end));
          });
          for (const [offset, wanted] of reads) {
            const length = Math.min(wanted, bytes.length - offset);
            expect((await cache.read(offset, length)).equals(bytes.subarray(offset, offset + length))).toBe(
              true,
            );
          }
          expect(new Set(fetched).size).toBe(fetched.length);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("that failed are tried again", async () => {
    let tries = 0;
    const cache = new BlockCache(10, async () => {
      tries += 1;
      if (tries === 1) throw new Error("it broke off");
      return Buffer.from("0123456789");
    });
    await expect(cache.read(0, 5)).rejects.toThrow("broke off");
    expect((await cache.read(3, 4)).toString()).toBe("3456");
    expect(tries).toBe(2);
  });
});
