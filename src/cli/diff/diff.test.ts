import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EntrySpec, makeTar, writeCheckpoint } from "../../../test/support/archive.ts";
import { PAGE } from "../../../test/support/criu.ts";
import { type ProcessSpec, processImages, regularFile } from "../../../test/support/processes.ts";
import { EXIT } from "../exit.ts";
import { kcr } from "../testing/io.ts";
import { compareItems } from "./compare.ts";

describe("things with keys", () => {
  const item = (key: (string | number)[], fields: Record<string, number> = {}) => ({ key, fields });

  test("are told in the order of their keys, numbers as numbers", () => {
    const before = [item([10, "b"]), item([9, "x"], { a: 1, b: 2 }), item([2])];
    const after = [item([9, "x"], { b: 3, a: 1, c: 4 }), item([10, 3]), item([10, "a"]), item([2])];
    expect(compareItems(before, after)).toEqual([
      { change: "changed", what: "9/x", before: { b: 2 }, after: { b: 3, c: 4 } },
      { change: "added", what: "10/3", after: {} },
      { change: "added", what: "10/a", after: {} },
      { change: "removed", what: "10/b", before: {} },
    ]);
  });
});

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-diff-"));
});
afterAll(() => rm(directory, { recursive: true }));

const STRINGS = 0x7000n;

/** A process with arguments, environment, one open file and a page of memory. */
function process(spec: { args: string; env: string; page: number; position: number }): ProcessSpec {
  const strings = Buffer.alloc(PAGE);
  const args = Buffer.from(`${spec.args}\0`);
  const env = Buffer.from(`${spec.env}\0`);
  Buffer.concat([args, env]).copy(strings);
  const envStart = STRINGS + BigInt(args.length);
  return {
    pid: 1,
    name: "redis",
    memory: {
      vmas: [{ start: STRINGS, pages: 2 }],
      runs: [{ address: STRINGS, pages: 2 }],
      pages: Buffer.concat([strings, Buffer.alloc(PAGE, spec.page)]),
      arguments: [STRINGS, envStart],
      environment: [envStart, envStart + BigInt(env.length)],
    },
    descriptors: [{ fd: 3, type: 1, fileId: 5 }],
  };
}

let count = 0;
async function archive(
  processes: ProcessSpec[],
  { position = 0, layer = [] }: { position?: number; layer?: readonly EntrySpec[] } = {},
): Promise<string> {
  const images = processImages(processes, [regularFile(5, "/var/log\u001b[2J", { 3: position })]);
  const rootfs = { name: "rootfs-diff.tar", content: gzipSync(await makeTar(layer)) };
  count += 1;
  return await writeCheckpoint(join(directory, `${count}.tar`), { more: [...images, rootfs] });
}

const BASE = { args: "redis\0--save", env: "DB_PASSWORD=one", page: 1, position: 0 };

test("two that are the same: no differences, whatever the order of their files", async () => {
  const layer = [
    { name: "a", content: "1" },
    { name: "b", content: "2" },
  ];
  const a = await archive([process(BASE)], { layer });
  const b = await archive([process(BASE)], { layer: layer.toReversed() });
  const { exit, out, err } = await kcr(["diff", a, b]);
  expect([exit, err]).toEqual([EXIT.done, ""]);
  expect(out).toMatch(
    /^A {2}.*\/1.tar: container redis of pod default\/redis-0.*\nB .*\n\nno differences\n$/,
  );
});

test("tells what differs, and exits with 3", async () => {
  const a = await archive([process(BASE), { pid: 8, ppid: 1, name: "old" }], {
    layer: [{ name: "same", content: "s" }, { name: "data", content: "one" }, { name: ".wh.gone" }],
  });
  const changed = { args: "redis\0--load", env: "DB_PASSWORD=two", page: 2, position: 9 };
  const b = await archive([process(changed), { pid: 12, ppid: 1, name: "new\u001b[1m" }], {
    position: 9,
    layer: [
      { name: "same", content: "s" },
      { name: "data", content: "two" },
      { name: "made", type: "directory" },
    ],
  });
  const { exit, out } = await kcr(["diff", a, b]);
  expect(exit).toBe(EXIT.no);
  const digest = "sha256:[0-9a-f]{64}";
  const [, , ...lines] = out.split("\n");
  expect(lines).toEqual([
    "",
    "processes",
    "  ~ 1 redis: arguments redis --save -> redis --load",
    "  - 8 old",
    "  + 12 new\\x1b[1m",
    "",
    "files",
    "  ~ 1/3 /var/log\\x1b[2J: position 0 -> 9",
    "  - 8/cwd /",
    "  - 8/root /",
    "  + 12/cwd /",
    "  + 12/root /",
    "",
    "environment",
    "  ~ 1 DB_PASSWORD: value ******** -> ********",
    "",
    "rootfs",
    expect.stringMatching(`^ {2}~ /data: content ${digest} -> ${digest}$`),
    "  - /gone",
    "  + /made",
    "",
    "memory",
    "  process 1 redis: 2 of 2 pages differ (8.0 KiB)",
    "        RANGE       PERM   CHANGED   PAGES   NAME",
    "    ~   7000-9000   rw-p         2       2   [anonymous]",
    "",
  ]);
  const some = await kcr(["diff", a, b, "--only", "environment,memory", "--show-secrets", "-o", "json"]);
  const { differ, differences, memory } = JSON.parse(some.out);
  expect([some.exit, differ]).toEqual([EXIT.no, true]);
  expect(differences).toEqual({
    environment: [
      { change: "changed", what: "1 DB_PASSWORD", before: { value: "one" }, after: { value: "two" } },
    ],
  });
  expect(memory).toMatchObject([{ pid: 1, pages: 2, changed: 2, unknown: 0, mappings: [{ start: "7000" }] }]);
});

test("what is not compared does not count, and what is not known is a wrong call", async () => {
  const a = await archive([process(BASE)]);
  const b = await archive([process({ ...BASE, page: 2 })]);
  expect((await kcr(["diff", a, b, "--only", "processes"])).exit).toBe(EXIT.done);
  expect((await kcr(["diff", a, b, "--only", "memory"])).exit).toBe(EXIT.no);
  expect((await kcr(["diff", a, b, "--only", "memories"])).exit).toBe(EXIT.usage);
});
