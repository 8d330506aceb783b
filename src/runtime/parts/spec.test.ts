import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it } from "vitest";
import { PartError } from "./errors.ts";
import { parseSpec, readSpec, SPEC_LIMIT } from "./spec.ts";

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "kcr-spec-"));
  path = join(dir, "config.json");
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it("reads what is there, and what is not there, or null, as empty", async () => {
  writeFileSync(
    path,
    JSON.stringify({
      process: { args: ["a"], env: null, user: { uid: 5 }, capabilities: { bounding: ["CAP_KILL"] } },
      mounts: [{ destination: "/x", options: null }],
      linux: null,
    }),
  );
  expect(await readSpec(path)).toMatchObject({
    annotations: {},
    root: { path: "", readonly: false },
    mounts: [{ destination: "/x", type: "", source: "", options: [] }],
    process: {
      args: ["a"],
      env: [],
      user: { uid: 5, gid: 0, additionalGids: [] },
      capabilities: { bounding: ["CAP_KILL"], ambient: [] },
    },
    linux: { seccomp: undefined, maskedPaths: [] },
  });
});

it.each([
  ["process.args[1]", { process: { args: ["a", 1] } }],
  ["process", { process: [] }],
  ["process.terminal", { process: { terminal: "yes" } }],
  ["process.user.uid", { process: { user: { uid: "0" } } }],
  ["mounts", { mounts: {} }],
  ["mounts[0].source", { mounts: [{ source: {} }] }],
  ["annotations", { annotations: { a: 1 } }],
  ["linux.seccomp", { linux: { seccomp: 1 } }],
  ["the whole", []],
])("names the field that is wrong: %s", (field, value) => {
  expect(() => parseSpec(JSON.stringify(value), "config.json")).toThrow(`config.json: ${field} is no`);
});

it("does not quote what it cannot read", () => {
  expect(() => parseSpec('{"process":{"env":["TOKEN=s3cr3t"', "config.json")).toThrow(
    /^config.json is no JSON$/,
  );
});

it("refuses a file that is too large, a link, a directory, and one that is not there", async () => {
  await expect(readSpec(path)).rejects.toBeInstanceOf(PartError);
  await expect(readSpec(dir)).rejects.toThrow(/is no regular file/);
  writeFileSync(path, "{}");
  symlinkSync(path, join(dir, "link"));
  await expect(readSpec(join(dir, "link"))).rejects.toBeInstanceOf(PartError);
  truncateSync(path, SPEC_LIMIT + 1);
  await expect(readSpec(path)).rejects.toThrow(/more than/);
});

it("takes any JSON or refuses it as such", () => {
  const keys = [
    "process",
    "args",
    "env",
    "user",
    "mounts",
    "root",
    "linux",
    "annotations",
    "__proto__",
    "options",
  ];
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom(null, true, 1, "x"),
      fc.array(tie("any"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...keys), tie("any"), { maxKeys: 5 }),
    ),
  })).any;
  fc.assert(
    fc.property(value, (any) => {
      try {
        expect(parseSpec(JSON.stringify(any), "x").process.args).toBeInstanceOf(Array);
      } catch (error) {
        expect(error).toBeInstanceOf(PartError);
      }
    }),
  );
});
