import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type EntrySpec, makeTar, message } from "../../test/support/archive.ts";
import { image, imageOfMany } from "../../test/support/criu.ts";
import { bufferBytes } from "./bytes.ts";
import { type OpenFile, readFiles } from "./criu/files.ts";
import { readProcessFiles, readProcessMounts } from "./descriptors.ts";
import { ArchiveError } from "./errors.ts";
import { readTar } from "./tar.ts";

const open = async (entries: readonly EntrySpec[]) => readTar(bufferBytes("a.tar", await makeTar(entries)));
const options = message({ 1: 100, 2: 200 });

/** files.img of one entry: of that type, with its message in that field. */
async function one(type: number, field: number, file: Parameters<typeof message>[0]): Promise<OpenFile> {
  const entry = message({ 1: type, 2: 5, [field]: message(file) });
  return (await readFiles(await open([image("files", "files.img", [entry])]))).get(5)!;
}

describe("files.img", () => {
  test.each([
    [2, 18, { 2: 77, 3: 1 }, { kind: "pipe", pipeId: 77, flags: 1 }],
    [6, 8, { 2: 2, 4: 2n ** 64n - 1n }, { kind: "eventfd", counter: 2n ** 64n - 1n }],
    [7, 9, { 4: [message({ 2: 3 }), message({ 2: 4 })] }, { kind: "eventpoll", watched: [3, 4] }],
    [8, 13, { 5: [message({ 1: 1 })] }, { kind: "inotify", watches: 1 }],
    [9, 10, { 4: 3 }, { kind: "signalfd", signals: 3n }],
    [10, 6, { 2: 3, 3: 0, 7: options }, { kind: "packet", type: 3, sendBuffer: 100, receiveBuffer: 200 }],
    [12, 14, { 6: [message({}), message({})] }, { kind: "fanotify", marks: 2 }],
    [13, 7, { 3: 16, 4: 7, 12: options }, { kind: "netlink", protocol: 16, receiveBuffer: 200 }],
    [14, 5, { 2: 8, 3: 0x40000000 }, { kind: "namespace", namespaceId: 8, type: 0x40000000 }],
    [15, 11, { 2: "tun0" }, { kind: "tun", device: "tun0" }],
    [16, 15, {}, { kind: "external" }],
    [17, 12, { 4: 1, 5: 9 }, { kind: "timerfd", clock: 1, expired: 9n }],
    [19, 21, { 5: 1, 13: "map" }, { kind: "bpfmap", name: "map", type: 1 }],
    [20, 22, { 4: 2n ** 64n - 1n }, { kind: "pidfd", pid: -1 }],
    [99, 3, {}, { kind: "unknown", type: 99 }],
    [1, 18, {}, { kind: "unknown", type: 1 }],
  ] as const)("has entries of type %i", async (type, field, file, expected) => {
    expect(await one(type, field, file)).toMatchObject({ id: 5, ...expected });
  });

  test("names what has its path elsewhere, and knows what was deleted", async () => {
    const tar = await open([
      image("files", "files.img", [
        message({ 1: 1, 2: 1, 3: message({ 1: 1, 6: "/dev/pts/0" }) }),
        message({ 1: 11, 2: 2, 19: message({ 1: 2, 6: 1 }) }),
        message({ 1: 3, 2: 3, 17: message({ 1: 3, 2: 9, 3: 4 }) }),
        message({ 1: 1, 2: 4, 3: message({ 1: 4, 6: "/tmp/fifo" }) }),
        message({ 1: 1, 2: 5, 3: message({ 1: 5, 6: "/tmp/gone" }) }),
        message({ 1: 18, 2: 6, 20: message({ 1: 6, 5: 12 }) }),
      ]),
      image("remaps", "remap-fpath.img", [message({ 1: 5, 2: 1, 3: 1 }), message({ 1: 4, 2: 1, 3: 2 })]),
      image("memfds", "memfd.img", [message({ 1: "secrets", 4: 8192, 5: 15, 7: 12 })]),
    ]);
    const files = await readFiles(tar);
    expect(files.get(2)).toMatchObject({ kind: "tty", path: "/dev/pts/0" });
    expect(files.get(3)).toMatchObject({ kind: "fifo", path: "/tmp/fifo" });
    expect(files.get(4)).toMatchObject({ isDeleted: false });
    expect(files.get(5)).toMatchObject({ path: "/tmp/gone", isDeleted: true });
    expect(files.get(6)).toMatchObject({ kind: "memfd", name: "secrets", size: 8192n, sharedId: 15n });
  });

  const inet = (family: number, words: readonly number[]) =>
    one(4, 4, { 3: family, 4: 1, 5: 6, 6: 10, 7: 80, 8: 0, 11: words, 12: words, 14: options });

  test.each([
    [2, [0x0100007f], "127.0.0.1"],
    [10, [0, 0, 0, 0x01000000], "::1"],
    [10, [0, 0, 0, 0], "::"],
    [10, [0xb80d0120, 0, 0x01000000, 0x01000000], "2001:db8::1:0:1"],
    [10, [0, 0, 0xffff0000, 0x0100007f], "::ffff:127.0.0.1"],
    [10, [0x01000100, 0x01000000, 0x01000100, 0x01000100], "1:1:0:1:1:1:1:1"],
    [10, [0x00000100, 0x01000000, 0, 0x01000100], "1::1:0:0:1:1"],
    [99, [], ""],
  ])("has addresses of family %i: %j is %s", async (family, words, address) => {
    expect(await inet(family, words)).toMatchObject({
      localAddress: address,
      state: "LISTEN",
      protocol: "TCP",
    });
  });

  test("refuses an address of another length", async () => {
    await expect(inet(2, [1, 2])).rejects.toMatchObject({ code: "malformed" });
    await expect(inet(2, [2 ** 32])).rejects.toMatchObject({ code: "malformed" });
  });

  test.each([
    ["/run/x.sock\0", { name: "/run/x.sock", isAbstract: false }],
    ["/run/x.sock", { name: "/run/x.sock", isAbstract: false }],
    ["\0a\0b", { name: "a\0b", isAbstract: true }],
    ["", { name: undefined, isAbstract: false }],
    ["\0", { name: undefined, isAbstract: false }],
  ])("has UNIX sockets of the name %j", async (name, expected) => {
    const socket = { 2: 7, 3: 1, 4: 1, 8: 8, 10: options, 11: Buffer.from(name) };
    expect(await one(5, 16, socket)).toMatchObject({ kind: "unix", inode: 7, peer: 8, ...expected });
  });

  test("is refused with a million entries, and without it an archive has none", async () => {
    const many = { name: "checkpoint/files.img", content: imageOfMany("files", 1_000_000) };
    await expect(readFiles(await open([many]))).rejects.toMatchObject({ code: "too-large" });
    await expect(readFiles(await open([]))).rejects.toMatchObject({ code: "missing" });
  });
});

describe("the descriptors of a process", () => {
  const images = (fdinfo: readonly Uint8Array[]) => [
    image("ids", "ids-1.img", [message({ 1: 1, 2: 4, 9: 6 })]),
    image("fdinfo", "fdinfo-4.img", fdinfo),
    image("fs", "fs-1.img", [message({ 1: 1, 2: 2, 3: 18 })]),
    image("files", "files.img", [
      message({ 1: 1, 2: 1, 3: message({ 1: 1, 6: "/work" }) }),
      message({ 1: 1, 2: 2, 3: message({ 1: 2, 6: "/" }) }),
    ]),
  ];

  test("are in the order of their numbers, with what they were opened on", async () => {
    const tar = await open(images([message({ 1: 2, 2: 1, 3: 1, 4: 9 }), message({ 1: 99, 3: 6, 4: 0 })]));
    expect(await readProcessFiles(tar, 1, await readFiles(tar))).toMatchObject({
      workingDirectory: "/work",
      root: "/",
      umask: 18,
      descriptors: [
        { fd: 0, closeOnExec: false, file: { kind: "unknown", type: 6 } },
        { fd: 9, closeOnExec: true, file: { kind: "regular", path: "/" } },
      ],
    });
    await expect(readProcessFiles(tar, 2, new Map())).rejects.toMatchObject({ code: "missing" });
  });

  test("are refused when there are a million", async () => {
    const tar = await open([
      ...images([]).filter(({ name }) => !name.includes("fdinfo")),
      { name: "checkpoint/fdinfo-4.img", content: imageOfMany("fdinfo", 1_000_000) },
    ]);
    await expect(readProcessFiles(tar, 1, new Map())).rejects.toMatchObject({ code: "too-large" });
  });

  test("come with mounts, where the process had a mount namespace of its own", async () => {
    const mount = message({ 1: 1, 2: 7, 4: 1, 6: "/", 7: "./proc", 8: "proc", 9: "ro", 18: "/proc" });
    const tar = await open([...images([]), image("mounts", "mountpoints-6.img", [mount])]);
    expect(await readProcessMounts(tar, 1)).toEqual([
      ...[
        { id: 7, parentId: 1, mountPoint: "/proc", root: "/", type: "proc", source: "proc", options: "ro" },
      ].map((one) => ({ ...one, isExternal: true })),
    ]);
    expect(await readProcessMounts(await open(images([])), 1)).toBeUndefined();
  });

  test("of any bytes at all are descriptors or an ArchiveError", async () => {
    const good = images([message({ 1: 1, 2: 1, 3: 1, 4: 9 })]);
    const bytes = fc.uint8Array({ maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.boolean(), bytes, async (which, framed, bytes) => {
        const bad = good.map((entry, i) => {
          if (i !== which) return entry;
          const magic = (entry.content as Buffer).subarray(0, 8);
          const length = framed ? Buffer.from([bytes.length, 0, 0, 0]) : Buffer.alloc(0);
          return { ...entry, content: Buffer.concat([magic, length, bytes]) };
        });
        try {
          const tar = await open(bad);
          await readProcessFiles(tar, 1, await readFiles(tar));
        } catch (error) {
          expect(error).toBeInstanceOf(ArchiveError);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("any message in place of a file's is a file or an ArchiveError", async () => {
    const types = Array.from({ length: 22 }, (_, i) => i);
    const field: Readonly<Record<number, number>> = {
      1: 3,
      2: 18,
      3: 17,
      4: 4,
      5: 16,
      6: 8,
      7: 9,
      8: 13,
      9: 10,
    };
    const value = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.uint8Array({ maxLength: 20 }));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...types),
        fc.dictionary(fc.integer({ min: 1, max: 20 }).map(String), value),
        async (type, fields) => {
          try {
            expect((await one(type, field[type] ?? type + 2, fields)).id).toBe(5);
          } catch (error) {
            expect(error).toBeInstanceOf(ArchiveError);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
