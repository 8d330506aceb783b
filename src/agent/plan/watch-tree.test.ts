import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../../test/support/wait-for.ts";
import { silent } from "../../kube/log.ts";
import { watchTree } from "./watch-tree.ts";

describe("a watched tree", () => {
  let root: string;
  let seen: string[];
  let watched: Disposable | undefined;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "kcr-watch-"));
    seen = [];
  });
  afterEach(async () => {
    watched?.[Symbol.dispose]();
    await rm(root, { recursive: true });
  });
  const watch = (depth = 2) => {
    watched = watchTree(root, depth, (path) => void seen.push(path.join("/")), silent);
  };
  const told = (path: string) =>
    waitFor(`${path} to be told`, () => seen.includes(path), { timeoutMs: 10_000, intervalMs: 10 });

  it("tells at first of what is there", async () => {
    await mkdir(join(root, "a/b"), { recursive: true });
    await writeFile(join(root, "a/b/file"), "");
    watch();
    expect(seen).toEqual(["a", "a/b", "a/b/file"]);
  });

  it("tells of what comes, in directories that come too", async () => {
    watch();
    await mkdir(join(root, "a/b"), { recursive: true });
    await told("a/b");
    await writeFile(join(root, "a/b/half"), "");
    await rename(join(root, "a/b/half"), join(root, "a/b/file"));
    await told("a/b/file");
  });

  it("tells of what is written again, and of what goes", async () => {
    await writeFile(join(root, "file"), "1");
    watch();
    seen.length = 0;
    await writeFile(join(root, "file"), "2");
    await told("file");
    await mkdir(join(root, "a"));
    await told("a");
    seen.length = 0;
    await rm(join(root, "a"), { recursive: true });
    await told("a");
  });

  it("goes on in a directory that went and came again", async () => {
    await mkdir(join(root, "a"));
    watch();
    seen.length = 0;
    await rm(join(root, "a"), { recursive: true });
    await told("a");
    await mkdir(join(root, "a"));
    await writeFile(join(root, "a/file"), "");
    await told("a/file");
  });

  it("does not look deeper than it is told to", async () => {
    await mkdir(join(root, "a/b/c"), { recursive: true });
    watch(1);
    expect(seen).toEqual(["a", "a/b"]);
  });
});
