import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { partsOf, Tree } from "./tree.ts";

let base: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-tree-"));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

describe("something that is mounted in a tree", () => {
  const mounted = () => join(base, "dir", "mount");
  beforeEach(() => {
    mkdirSync(mounted(), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", mounted()]);
    writeFileSync(join(mounted(), "file"), "not ours");
  });
  afterEach(() => execFileSync("umount", [mounted()]));

  it.each<[string, (tree: Tree) => unknown]>([
    ["entered", (tree) => tree.at(["dir", "mount", "file"])],
    ["looked through", (tree) => tree.names(["dir", "mount"])],
    ["emptied", (tree) => tree.remove(["dir"])],
    ["emptied with all", (tree) => tree.remove([])],
  ])("is not %s", (_, act) => {
    using tree = new Tree(base);
    expect(() => act(tree)).toThrow(/something is mounted at "(dir\/)?mount"/);
    expect(readFileSync(join(mounted(), "file"), "utf8")).toBe("not ours");
  });
});

it("removes a directory with more names than are read at once, and no other", () => {
  mkdirSync(join(base, "many"));
  for (let n = 0; n < 2000; n += 1) writeFileSync(join(base, "many", `file-${n}`), "");
  writeFileSync(join(base, "other"), "");
  using tree = new Tree(base);
  expect(tree.remove(["many"], (name) => name === "many" || name.endsWith("-7"))).toBe(1999);
  expect(tree.remove(["many"])).toBe(2);
  expect(tree.remove(["many"])).toBe(0);
  expect(readdirSync(base)).toEqual(["other"]);
});

it("leaves no file open", () => {
  const before = readdirSync("/proc/self/fd").length;
  {
    using tree = new Tree(base);
    for (const parts of [["a", "b", "c"], ["x"]]) {
      using _place = tree.at(parts, { make: true });
      tree.stat(parts);
      expect(() => tree.at([...parts, "no", "way"])).toThrow();
      tree.remove(parts);
    }
  }
  expect(readdirSync("/proc/self/fd")).toHaveLength(before);
});

it.each([
  ["a/b", ["a", "b"]],
  ["./a//b/", ["a", "b"]],
  ["./", []],
  [".", []],
  ["...", ["..."]],
])("takes the name %j apart", (name, parts) => {
  expect(partsOf(name)).toEqual(parts);
});

it.each(["", "/", "/a", "a/..", "../a", "a/../b", "a\0", "x/".repeat(3000)])(
  "refuses the name %j",
  (name) => {
    expect(() => partsOf(name)).toThrow(/is no name of a file below a directory/);
  },
);
