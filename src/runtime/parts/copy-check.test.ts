import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { COPY_INDEX, COPY_VERSION, CORRUPT_MARK } from "../../store/copy.ts";
import { checkCopy } from "./copy-check.ts";

const ARCHIVE = "a".repeat(64);
const FILES: Record<string, string> = {
  "spec.dump": "{}",
  "config.dump": "",
  "rootfs-diff.tar": "x".repeat(1_500_000),
  "checkpoint/inventory.img": "inventory",
  "checkpoint/pages-1.img": "pages",
  "checkpoint/core-1.img": "core",
};

let base: string;
let dir: string;

function index(change: Record<string, unknown> = {}): void {
  const files = Object.entries(FILES).map(([path, content]) => ({
    path,
    size: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
  }));
  const whole = { version: COPY_VERSION, archive: ARCHIVE, engine: "containerd", files };
  const text = JSON.stringify({ ...whole, openForWriting: [], mounts: ["/data"], ...change });
  writeFileSync(join(dir, COPY_INDEX), text);
}

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-copy-"));
  dir = join(base, ARCHIVE);
  for (const [path, content] of Object.entries(FILES)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  index();
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

it("gives the index of a copy that is whole, page data unread", async () => {
  writeFileSync(join(dir, "checkpoint/pages-1.img"), "PAGES");
  expect(await checkCopy(dir)).toMatchObject({ archive: ARCHIVE, mounts: ["/data"] });
});

it("refuses a file that is in no index, wherever CRIU would look for images", async () => {
  mkdirSync(join(dir, "checkpoint/parent"));
  FILES["checkpoint/parent/pages-1.img"] = "older";
  writeFileSync(join(dir, "checkpoint/parent/pages-1.img"), "older");
  index();
  delete FILES["checkpoint/parent/pages-1.img"];
  await checkCopy(dir);
  writeFileSync(join(dir, "checkpoint/parent/pagemap-1.img"), "");
  await expect(checkCopy(dir)).rejects.toMatchObject({ code: "CopyCorrupt", corrupt: true });
});

describe("a damaged copy is told apart", () => {
  const flip = (path: string) => {
    const bytes = readFileSync(join(dir, path));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(join(dir, path), bytes);
  };
  it.each<[string, RegExp, () => void]>([
    ["a bit flipped in a small file", /core-1.img is not what/, () => flip("checkpoint/core-1.img")],
    ["a bit flipped in a large file", /rootfs-diff.tar is not what/, () => flip("rootfs-diff.tar")],
    ["page data cut short", /pages-1.img has 4/, () => truncateSync(join(dir, "checkpoint/pages-1.img"), 4)],
    ["a file gone", /inventory.img cannot/, () => rmSync(join(dir, "checkpoint/inventory.img"))],
    [
      "a link in a file's place",
      /spec.dump cannot/,
      () => {
        renameSync(join(dir, "spec.dump"), join(base, "spec.dump"));
        symlinkSync(join(base, "spec.dump"), join(dir, "spec.dump"));
      },
    ],
    [
      "a link in the images' place",
      /checkpoint is missing/,
      () => {
        renameSync(join(dir, "checkpoint"), join(base, "checkpoint"));
        symlinkSync(join(base, "checkpoint"), join(dir, "checkpoint"));
      },
    ],
    [
      "an image too many",
      /core-2.img is not in/,
      () => writeFileSync(join(dir, "checkpoint/core-2.img"), ""),
    ],
    ["another copy's index", /is of b/, () => index({ archive: "b".repeat(64) })],
    [
      "an index that names a file above",
      /no index/,
      () => index({ files: [{ path: "../x", size: 0, sha256: ARCHIVE }] }),
    ],
    ["an index cut short", /no index/, () => truncateSync(join(dir, COPY_INDEX), 50)],
  ])("%s", async (_, message, damage) => {
    damage();
    const error = await checkCopy(dir).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "CopyCorrupt", corrupt: true });
    expect((error as Error).message).toMatch(message);
  });

  it("from one that an agent of a later version made, which is to stay", async () => {
    index({ version: 99, files: "elsewhere" });
    await expect(checkCopy(dir)).rejects.toMatchObject({
      code: "ProtocolUnknown",
      corrupt: false,
      message: expect.stringContaining("is of protocol 99"),
    });
  });

  it("from one that is not there or marked already, which need no mark", async () => {
    writeFileSync(join(dir, CORRUPT_MARK), "");
    await expect(checkCopy(dir)).rejects.toMatchObject({ code: "CopyCorrupt", corrupt: false });
    rmSync(dir, { recursive: true });
    await expect(checkCopy(dir)).rejects.toMatchObject({ code: "CopyCorrupt", corrupt: false });
  });

  it("from a check that was stopped", async () => {
    const reason = new Error("time is up");
    await expect(checkCopy(dir, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});
