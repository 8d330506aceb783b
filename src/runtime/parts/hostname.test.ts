import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hostnameOf, imagesWithHostname } from "./hostname.ts";
import { parseSpec } from "./spec.ts";

/** As CRIU 4.2 wrote it for a pod `restored-5d745cb46d-ssgvq`. */
const IMAGE = Buffer.from(
  "1943565403324754230000000a19726573746f7265642d356437343563623436642d73736776711206286e6f6e6529",
  "hex",
);

let base: string;
let copyDir: string;
let images: string;
let into: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-hostname-"));
  copyDir = join(base, "copy");
  images = join(copyDir, "checkpoint");
  into = join(base, "work", "images");
  mkdirSync(images, { recursive: true });
  writeFileSync(join(images, "pages-1.img"), "pages");
  writeFileSync(join(images, "descriptors.json"), "[]");
  writeFileSync(join(images, "utsns-12.img"), IMAGE);
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const restore = (hostname: string) => imagesWithHostname({ copyDir, into, hostname });

/** Nodename and domainname. */
function names(path: string): string[] {
  const bytes = readFileSync(path);
  expect(bytes.subarray(0, 8)).toEqual(IMAGE.subarray(0, 8));
  expect(bytes.readUInt32LE(8)).toBe(bytes.length - 12);
  const reader = new BinaryReader(bytes.subarray(12));
  const found: string[] = [];
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    found[field - 1] = reader.string();
  }
  return found;
}

it("gives the copy's own images when the hostname is theirs, or they have none", async () => {
  expect(await restore("restored-5d745cb46d-ssgvq")).toBe(images);
  rmSync(join(images, "utsns-12.img"));
  expect(await restore("another")).toBe(images);
  expect(readdirSync(base)).toEqual(["copy"]);
});

it.each(["web-1", "a", "h".repeat(63)])(
  "gives the pod's hostname %s, and the other images unread",
  async (name) => {
    for (const _ of ["first", "again"]) {
      expect(await restore(name)).toBe(into);
      expect(readdirSync(into).sort()).toEqual(["descriptors.json", "pages-1.img", "utsns-12.img"]);
      expect(names(join(into, "utsns-12.img"))).toEqual([name, "(none)"]);
      expect(lstatSync(join(into, "pages-1.img")).ino).toBe(lstatSync(join(images, "pages-1.img")).ino);
    }
    expect(readFileSync(join(images, "utsns-12.img"))).toEqual(IMAGE);
  },
);

it("has directories of its own for the parents of shared pages", async () => {
  const parent = join(images, "parent");
  mkdirSync(join(parent, "parent"), { recursive: true });
  writeFileSync(join(parent, "pages-1.img"), "older");
  writeFileSync(join(parent, "parent", "pages-1.img"), "oldest");
  await restore("web-1");
  expect(lstatSync(join(into, "parent")).isDirectory()).toBe(true);
  for (const path of ["parent/pages-1.img", "parent/parent/pages-1.img"]) {
    expect(lstatSync(join(into, path)).ino).toBe(lstatSync(join(images, path)).ino);
  }
});

it("links by name where the images are on another file system", async () => {
  const elsewhere = mkdtempSync("/dev/shm/kcr-hostname-");
  try {
    into = join(elsewhere, "images");
    expect(await restore("web-1")).toBe(into);
    expect(lstatSync(join(into, "pages-1.img")).isSymbolicLink()).toBe(true);
    expect(readFileSync(join(into, "pages-1.img"), "utf8")).toBe("pages");
    expect(names(join(into, "utsns-12.img"))).toEqual(["web-1", "(none)"]);
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});

it("keeps fields that it does not know", async () => {
  const message = new BinaryWriter()
    .tag(1, 2)
    .string("old")
    .tag(2, 2)
    .string("d")
    .tag(3, 2)
    .string("new field");
  const bytes = message.finish();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  writeFileSync(join(images, "utsns-12.img"), Buffer.concat([IMAGE.subarray(0, 8), length, bytes]));
  await restore("web-1");
  expect(names(join(into, "utsns-12.img"))).toEqual(["web-1", "d", "new field"]);
});

it.each([
  ["is cut short", () => IMAGE.subarray(0, 20)],
  ["is of another kind", () => Buffer.from(IMAGE).fill(0, 4, 8)],
  ["is empty", () => Buffer.alloc(0)],
  ["has a length beyond it", () => Buffer.from(IMAGE).fill(0xff, 8, 12)],
  ["holds no message", () => Buffer.from(IMAGE).fill(0xff, 12)],
  ["names no host", () => Buffer.from(IMAGE).fill(0x1a, 12, 13)],
])("says that the copy is damaged when the image %s", async (_, damaged) => {
  writeFileSync(join(images, "utsns-12.img"), damaged());
  await expect(restore("web-1")).rejects.toMatchObject({ code: "CopyCorrupt", corrupt: true });
});

it.each(["", "h".repeat(65), "a\0b"])("refuses a hostname that Linux does not take: %j", async (name) => {
  await expect(restore(name)).rejects.toMatchObject({ code: "RestoreFailed", corrupt: false });
});

describe("the new container's hostname", () => {
  const of = (env: string[], source: string): Promise<string | undefined> => {
    const mounts = [{ destination: "/etc/hostname", type: "bind", source, options: ["rbind"] }];
    return hostnameOf(parseSpec(JSON.stringify({ process: { env }, mounts }), "config.json"));
  };
  const ofSandbox = (): string => {
    const path = join(base, "sandboxes/box");
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "hostname"), "web-0\n");
    return join(path, "hostname");
  };

  it("is its pod's, whatever image or pod have set HOSTNAME to", async () => {
    expect(await of(["HOSTNAME=0.0.0.0"], ofSandbox())).toBe("web-0");
  });
  it("is HOSTNAME where the pod has a file of its own there, or the sandbox's is gone", async () => {
    writeFileSync(join(base, "own"), "mine");
    expect(await of(["HOSTNAME=a", "HOSTNAME=b"], join(base, "own"))).toBe("b");
    expect(await of(["HOSTNAME=a"], join(base, "sandboxes/none/hostname"))).toBe("a");
  });
  it("is not known where HOSTNAME is empty: the dumped one stays", async () => {
    expect(await of(["HOSTNAME="], join(base, "own"))).toBeUndefined();
  });
});
