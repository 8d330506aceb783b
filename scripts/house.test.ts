import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const sources = globSync("{src,cluster,demo,bench,test,scripts}/**/*.ts", { cwd: root });
const importsOf = (path: string): string[] =>
  [...readFileSync(join(root, path), "utf8").matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map(([, to]) =>
    relative(root, resolve(root, dirname(path), to ?? "")),
  );
const folder = (path: string): string => path.split("/").slice(0, 2).join("/");

/** What each folder of src may import besides itself. */
const LIBRARIES: Record<string, string[]> = {
  "src/kube": [],
  "src/archive": [],
  "src/oci": [],
  "src/api": ["src/kube"],
};
const PROGRAMS = ["src/operator", "src/agent", "src/runtime", "src/cli", "src/web"];

describe("imports go downwards only", () => {
  it("from a library to nothing of ours, from a program to libraries, never to another program", () => {
    const wrong: string[] = [];
    for (const path of sources.filter((p) => p.startsWith("src/") && !p.endsWith(".test.ts"))) {
      const from = folder(path);
      const allowed = LIBRARIES[from] ?? Object.keys(LIBRARIES);
      expect([...Object.keys(LIBRARIES), ...PROGRAMS]).toContain(from);
      for (const to of importsOf(path)) {
        if (folder(to) !== from && !allowed.includes(folder(to))) wrong.push(`${path} -> ${to}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(sources.length).toBeGreaterThan(50);
  });
});

describe("tests", () => {
  it("wait for conditions: only waitFor sleeps", () => {
    const sleeping = sources
      .filter((path) => /\.test\.ts$|^test\//.test(path) && path !== "test/support/wait-for.ts")
      .filter((path) =>
        /\bsetTimeout\s*\(|timers\/promises|Atomics\.wait\(|["'`]sleep["'`]/.test(
          readFileSync(join(root, path), "utf8"),
        ),
      )
      .filter((path) => path !== "scripts/house.test.ts");
    expect(sleeping).toEqual([]);
  });
});

describe("generated files", () => {
  it("are what the code says", () => {
    execFileSync(process.execPath, ["scripts/generate.ts", "--check"], { cwd: root, stdio: "pipe" });
  });
});
