import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { PAGE, VMA } from "../../../test/support/criu.ts";
import { processImages, regularFile } from "../../../test/support/processes.ts";
import { EXIT } from "../exit.ts";
import { kcr, testIo } from "../testing/io.ts";

let directory: string;
let archive: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-mem-"));
  const pages = Buffer.alloc(3 * PAGE, ".");
  pages.write("secret=hush\u001b[2J", 100);
  pages.write("secret=größe", 2 * PAGE - 9, "utf8");
  const more = processImages(
    [
      {
        pid: 1,
        name: "redis\u001b]0;x",
        memory: {
          vmas: [
            { start: 0x1000n, pages: 4, prot: 5, flags: 2, status: 1n | VMA.filePrivate, sourceId: 7n },
            { start: 0x10000n, pages: 4, status: 1n | VMA.heap },
            { start: 0x20000n, pages: 1, flags: 0x21, status: 1n | VMA.shared, sourceId: 3n },
          ],
          runs: [
            { address: 0x10000n, pages: 2 },
            { address: 0x12000n, pages: 1, flags: 1 },
            { address: 0x13000n, pages: 1 },
          ],
          pages,
        },
      },
      { pid: 9, ppid: 1, name: "child", state: 3 },
      { pid: 10, ppid: 1, name: "ended", state: 6 },
    ],
    [regularFile(7, "/usr/bin/redis")],
  );
  archive = await writeCheckpoint(join(directory, "archive.tar"), { more });
});
afterAll(() => rm(directory, { recursive: true }));

const mem = (...flags: string[]) => kcr(["mem", archive, ...flags]);

test("kcr mem lists the processes that have memory", async () => {
  expect((await mem()).out).toBe(
    [
      "PID   NAME                SIZE     MEMORY    SHARED   IN ARCHIVE",
      "  1   redis\\x1b]0;x   36.0 KiB   16.0 KiB   4.0 KiB     12.0 KiB",
      "  9   child                0 B        0 B       0 B          0 B",
      "",
    ].join("\n"),
  );
  const { processes } = JSON.parse((await mem("-o", "json")).out);
  const held = { present: 3 * PAGE, parent: PAGE, file: 4 * PAGE, zero: PAGE, kernel: 0, lazy: 0 };
  const size = 9 * PAGE;
  expect(processes[0]).toEqual({
    ...{ pid: 1, name: "redis\u001b]0;x", size, memory: 4 * PAGE, shared: PAGE, held },
  });
});

test("and the mappings of one", async () => {
  expect((await mem("-p", "1")).out).toBe(
    [
      "RANGE         PERM   KIND         SIZE   IN ARCHIVE   NAME",
      "1000-5000     r-xp   file     16.0 KiB          0 B   /usr/bin/redis",
      "10000-14000   rw-p   heap     16.0 KiB     12.0 KiB   [heap]",
      "20000-21000   rw-s   shared    4.0 KiB          0 B   [shmem 3]",
      "",
    ].join("\n"),
  );
  expect((await mem("-p", "1", "--vma", "heap,stack")).out.split("\n")).toHaveLength(3);
  expect((await mem("-p", "1", "--range", "0x5000-0x20001", "-o", "name")).out).toBe(
    "10000-14000\n20000-21000\n",
  );
});

describe("searching", () => {
  test("prints each match with its process, permissions and mapping, safely", async () => {
    const { exit, out } = await mem("-r", "secret=[^.]+");
    expect(exit).toBe(EXIT.done);
    expect(out.split("\n").map((line) => line.split(/ {2,}/))).toEqual([
      ["", "PID", "ADDRESS", "PERM", "MAPPING", "MATCH"],
      ["", "1", "0000000000010064", "rw-p", "[heap]", "secret=hush\\x1b[2J"],
      // It begins on the second page, and the third is the parent's.
      ["", "1", "0000000000011ff7", "rw-p", "[heap]", "secret=gr"],
      [""],
    ]);
  });

  test("shows what is around it as a hex dump, and all of it as JSON", async () => {
    const { out } = await mem("-s", "hush", "-c", "7");
    expect(out).toBe(
      [
        "process 1 redis\\x1b]0;x: 000000000001006b rw-p [heap], 4 bytes",
        "0000000000010064  73 65 63 72 65 74 3d 68 75 73 68 1b 5b 32 4a 2e  |secret=hush.[2J.|",
        "0000000000010074  2e 2e                                            |..|",
        "",
      ].join("\n"),
    );
    const { hits } = JSON.parse((await mem("-r", "HUSH", "-i", "-o", "json")).out);
    expect(hits).toEqual([
      {
        ...{ pid: 1, process: "redis\u001b]0;x", address: "1006b", length: 4, text: "hush" },
        mapping: { start: "10000", end: "14000", permissions: "rw-p", kind: "heap", name: "[heap]" },
        context: { start: "1006b", base64: Buffer.from("hush").toString("base64") },
      },
    ]);
  });

  test("shows each match on a terminal as soon as it is found", async () => {
    const writes: string[] = [];
    const io = testIo({ tty: true });
    const stdout = new Writable({
      write(chunk: Buffer, _encoding, done) {
        writes.push(chunk.toString());
        done();
      },
    });
    await kcr(["mem", archive, "-s", "secret="], { ...io, stdout });
    expect(writes).toHaveLength(2);
    expect(writes[1]).toContain("0000000000011ff7");
  });

  test("exits with 3 when there is nothing, also as JSON", async () => {
    expect(await mem("-s", "hush", "--vma", "stack")).toMatchObject({ exit: EXIT.no, out: "" });
    const none = await mem("-s", "absent", "-o", "json");
    expect([none.exit, JSON.parse(none.out)]).toEqual([EXIT.no, { hits: [] }]);
  });
});

describe("dumping", () => {
  test("prints what the archive holds", async () => {
    const { out } = await mem("-p", "1", "--hex", "--range", "10060-14000");
    const dots = "2e ".repeat(16);
    expect(out.split("\n")).toEqual([
      "0000000000010060  2e 2e 2e 2e 73 65 63 72 65 74 3d 68 75 73 68 1b  |....secret=hush.|",
      "0000000000010070  5b 32 4a 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e  |[2J.............|",
      `0000000000010080  ${dots} |................|`,
      "*",
      "0000000000011ff0  2e 2e 2e 2e 2e 2e 2e 73 65 63 72 65 74 3d 67 72  |.......secret=gr|",
      expect.stringMatching(/^0000000000013000 {2}c3 b6 c3 9f 65 2e/),
      expect.stringMatching(/^0000000000013010 /),
      "*",
      "",
    ]);
  });

  test("writes all of a range, with zeros for what is elsewhere", async () => {
    const file = join(directory, "range.bin");
    const { exit, err } = await mem("-p", "1", "--range", "10060-12010", "--dump", file);
    expect([exit, err]).toEqual([EXIT.done, "16 B of that are not in the archive, and zeros here\n"]);
    const bytes = await readFile(file);
    expect(bytes.length).toBe(0x12010 - 0x10060);
    expect(bytes.subarray(4, 15).toString()).toBe("secret=hush");
    expect(bytes.subarray(-17)).toEqual(Buffer.concat([Buffer.from("r"), Buffer.alloc(16)]));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test("takes from no file what it holds when it comes to nothing, and is for its owner alone", async () => {
    const file = join(directory, "mine.bin");
    await writeFile(file, "mine", { mode: 0o644 });
    expect(await mem("-p", "77", "--dump", file)).toMatchObject({ exit: EXIT.usage });
    expect(await readFile(file, "utf8")).toBe("mine");
    const { size } = await stat(archive);
    expect(await mem("-p", "1", "--dump", archive)).toMatchObject({ exit: EXIT.usage });
    expect((await stat(archive)).size).toBe(size);
    const onto = ["-p", "1", "--vma", "heap", "--dump", file];
    expect(await mem(...onto)).toMatchObject({
      exit: EXIT.failed,
      err: expect.stringContaining("FileExists"),
    });
    expect(await readFile(file, "utf8")).toBe("mine");
    expect(await mem(...onto, "--force")).toMatchObject({ exit: EXIT.done });
    expect(await mem("-p", "1", "--vma", "heap", "--dump", "/dev/null")).toMatchObject({ exit: EXIT.done });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  test("writes what it holds of mappings, and says where that was", async () => {
    const file = join(directory, "heap.bin");
    const { err } = await mem("-p", "1", "--vma", "heap", "--dump", file);
    expect(err).toBe("0  10000-12000 rw-p [heap]\n8192  13000-14000 rw-p [heap]\n");
    expect((await readFile(file)).length).toBe(3 * PAGE);
    expect((await mem("-p", "1", "--vma", "heap", "--dump", "-")).out).toContain("secret=hush");
  });
});

test.each([
  [["-p", "77"], /no process 77/],
  [["-p", "10"], /has ended \(zombie\)/],
  [["-p", "x"], /not a number/],
  [["--range", "2-1"], /two addresses/],
  [["--vma", "heaps"], /one of anonymous/],
  [["--hex"], /which process/],
  [["-s", "a", "-r", "b"], /choose one/],
  [["-r", "("], /regular expression/],
  [["-s", ""], /nothing to look for/],
])("%j is a wrong call", async (flags, why) => {
  expect(await mem(...flags)).toMatchObject({ exit: EXIT.usage, err: expect.stringMatching(why) });
});

test("memory as it is does not go to a terminal", async () => {
  const { exit } = await kcr(["mem", archive, "-p", "1", "--dump", "-"], testIo({ tty: true }));
  expect(exit).toBe(EXIT.usage);
});
