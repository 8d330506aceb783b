import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type EntrySpec, makeTar, message } from "../../test/support/archive.ts";
import { image, imageOfMany, type MemorySpec, memoryImages, PAGE } from "../../test/support/criu.ts";
import { bufferBytes } from "./bytes.ts";
import { readPstree } from "./criu/pstree.ts";
import { ArchiveError } from "./errors.ts";
import { AddressSpace } from "./memory.ts";
import { type Process, ProcessTree, readArguments, readEnvironment, readProcesses } from "./processes.ts";
import { readTar } from "./tar.ts";

const bare = (pid: number, ppid: number): Omit<Process, "children"> => ({
  ...{ pid, ppid, pgid: pid, sid: pid, threads: [pid], name: `p${pid}` },
  ...{ state: "alive" as const, exitCode: 0, credentials: undefined },
});
const order = (tree: ProcessTree) => [...tree.walk()].map(({ process, depth }) => [process.pid, depth]);

describe("the process tree", () => {
  test("is walked from parents to children, by their numbers, whatever the image's order", () => {
    const tree = new ProcessTree("a", [bare(9, 2), bare(2, 1), bare(10, 1), bare(3, 1), bare(1, 0)]);
    expect(order(tree)).toEqual([
      [1, 0],
      [2, 1],
      [9, 2],
      [3, 1],
      [10, 1],
    ]);
    expect([...tree.walk([tree.find(2)!])].map(({ process }) => process.pid)).toEqual([2, 9]);
  });

  test("has a root more for a process whose parent is not there", () => {
    expect(order(new ProcessTree("a", [bare(1, 0), bare(5, 77)]))).toEqual([
      [1, 0],
      [5, 0],
    ]);
  });

  test.each([
    ["itself", [bare(1, 1)]],
    ["each other", [bare(1, 0), bare(2, 3), bare(3, 2)]],
  ])("is refused where processes are the parents of %s", (_what, processes) => {
    expect(() => new ProcessTree("a", processes)).toThrow(/each other's ancestors/);
  });

  test("may be as deep as it is large", () => {
    const chain = Array.from({ length: 20_000 }, (_, i) => bare(i + 1, i));
    expect(order(new ProcessTree("a", chain)).at(-1)).toEqual([20_000, 19_999]);
  });

  test("of any parents at all is a tree of all processes or an error", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 20 }), (parents) => {
        const processes = parents.map((ppid, i) => bare(i + 1, ppid));
        try {
          expect(order(new ProcessTree("a", processes))).toHaveLength(processes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ArchiveError);
        }
      }),
    );
  });
});

describe("pstree.img", () => {
  const read = (messages: readonly Uint8Array[]) =>
    readPstree(bufferBytes("pstree.img", image("pstree", "pstree.img", messages).content as Buffer));

  test("holds threads, packed or not", async () => {
    const packed = message({ 1: 1, 2: 0, 3: 1, 4: 1, 5: Buffer.from([1, 7, 8]) });
    expect(await read([packed])).toEqual([{ pid: 1, ppid: 0, pgid: 1, sid: 1, threads: [1, 7, 8] }]);
    expect((await read([message({ 1: 1, 5: [1, 7] })]))[0]?.threads).toEqual([1, 7]);
  });

  test("is refused with two processes of one number, one without, and a million", async () => {
    await expect(read([message({ 1: 1 }), message({ 1: 1 })])).rejects.toMatchObject({ code: "malformed" });
    await expect(read([message({ 2: 1 })])).rejects.toMatchObject({ code: "malformed" });
    const many = readPstree(bufferBytes("pstree.img", imageOfMany("pstree", 1_000_000, { first: 1 })));
    await expect(many).rejects.toMatchObject({ code: "too-large" });
    await expect(read([message({ 1: 1, 5: Buffer.alloc(1_000_000, 1) })])).rejects.toMatchObject({
      code: "too-large",
    });
  });
});

const core = (pid: number, fields: Parameters<typeof message>[0]) =>
  image("core", `core-${pid}.img`, [message(fields)]);
const open = async (entries: readonly EntrySpec[]) => readTar(bufferBytes("a.tar", await makeTar(entries)));

test("a process is what its core says: alive, ended with a code, unknown", async () => {
  const credentials = message({ 1: 7, 3: 1000, 4: 1001 });
  const tar = await open([
    image("pstree", "pstree.img", [message({ 1: 1 }), message({ 1: 2, 2: 1 }), message({ 1: 3, 2: 1 })]),
    core(1, { 1: 1, 3: message({ 1: 1, 6: "init" }), 5: message({ 10: credentials }) }),
    core(2, { 1: 1, 3: message({ 1: 2, 2: 768, 6: "gone" }) }),
    core(3, { 1: 1, 3: message({ 1: 9, 6: "odd" }) }),
  ]);
  const tree = await readProcesses(tar);
  expect(tree.find(1)).toMatchObject({ state: "alive", name: "init", credentials: { uid: 1000, gid: 1001 } });
  expect(tree.find(2)).toMatchObject({ state: "dead", exitCode: 768, credentials: undefined });
  expect(tree.find(3)?.state).toBe("state 9");
  const without = await open([image("pstree", "pstree.img", [message({ 1: 1 })])]);
  await expect(readProcesses(without)).rejects.toMatchObject({ code: "missing" });
});

describe("arguments and environment", () => {
  const START = 0x10000n;
  /** A page with the text in it, after a word that says how many arguments there are. */
  async function memory(text: string, argc: number, more: Partial<MemorySpec> = {}): Promise<AddressSpace> {
    const page = Buffer.alloc(PAGE);
    page.writeUInt32LE(argc);
    page.write(text, 8);
    const range = [START + 8n, START + 8n + BigInt(Buffer.byteLength(text))] as const;
    const spec = {
      pid: 1,
      vmas: [{ start: START, pages: 1 }],
      runs: [{ address: START, pages: 1 }],
      pages: page,
    };
    const images = memoryImages({ ...spec, stack: START, arguments: range, environment: range, ...more });
    return await AddressSpace.open(await open(images), 1, new Map());
  }

  test("are the strings that lie there, empty ones too", async () => {
    expect(await readArguments(await memory("a\0b c\0\0", 3))).toEqual(["a", "b c", ""]);
    expect(await readArguments(await memory("", 0))).toEqual([]);
    expect(await readArguments(await memory("ä\0\xff", 2))).toEqual(["ä", "\xff"]);
  });

  test("end where a program has shown its state in their place", async () => {
    expect(await readArguments(await memory("redis-server *:6379\0\0\0\0\0", 4))).toEqual([
      "redis-server *:6379",
    ]);
    expect(await readArguments(await memory("no end", 2))).toEqual(["no end"]);
    expect(await readEnvironment(await memory("A=1\0\0\0B=2\0", 0))).toEqual(["A=1", "B=2"]);
  });

  test("are an error where the checkpoint does not hold them, or they are absurd", async () => {
    const parent = await memory("a\0", 1, { runs: [{ address: START, pages: 1, flags: 1 }] });
    await expect(readArguments(parent)).rejects.toMatchObject({ code: "missing" });
    const backwards = await memory("a\0", 1, { arguments: [START + 9n, START] });
    await expect(readArguments(backwards)).rejects.toMatchObject({ code: "malformed" });
    const all = await memory("a\0", 1, { arguments: [0n, 1n << 63n] });
    await expect(readArguments(all)).rejects.toMatchObject({ code: "too-large" });
    const nothing = await memory("a\0", 1, {
      vmas: [{ start: 0n, pages: 2000 }],
      arguments: [0n, 6_000_000n],
    });
    await expect(readArguments(nothing)).rejects.toMatchObject({ code: "too-large" });
  });
});
