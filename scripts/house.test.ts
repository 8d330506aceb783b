import { execFileSync, spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
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
  "src/store": [],
  "src/transfer": ["src/store"],
  "src/engine": ["src/archive"],
  "src/api": ["src/kube", "src/oci", "src/store"],
  "src/retention": ["src/api", "src/kube"],
};
/** Not code: where a program has its version from. */
const MANIFEST = "package.json";
const PROGRAMS = [
  "src/operator",
  "src/agent",
  "src/runtime",
  "src/installer",
  "src/download",
  "src/cli",
  "src/web",
];

describe("imports go downwards only", () => {
  it("from a library to nothing of ours, from a program to libraries, never to another program", () => {
    const wrong: string[] = [];
    for (const path of sources.filter((p) => p.startsWith("src/") && !p.endsWith(".test.ts"))) {
      const from = folder(path);
      const allowed = LIBRARIES[from] ?? Object.keys(LIBRARIES);
      expect([...Object.keys(LIBRARIES), ...PROGRAMS]).toContain(from);
      for (const to of importsOf(path)) {
        if (to !== MANIFEST && folder(to) !== from && !allowed.includes(folder(to)))
          wrong.push(`${path} -> ${to}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(sources.length).toBeGreaterThan(50);
  });
});

describe("the lint rule for tests", () => {
  it("forbids to sleep, but in the one helper that waits for conditions", () => {
    const work = mkdtempSync(join(tmpdir(), "kcr-lint-"));
    try {
      const { vcs: _, ...config } = JSON.parse(readFileSync(join(root, "biome.json"), "utf8"));
      const code = [
        "await new Promise((done) => setTimeout(done, 100));",
        'import { setTimeout as sleep } from "node:timers/promises";\nawait sleep(100);',
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);",
      ];
      const write = (path: string, text: string): void => {
        mkdirSync(dirname(join(work, path)), { recursive: true });
        writeFileSync(join(work, path), text);
      };
      write("biome.json", JSON.stringify(config));
      for (const [n, text] of code.entries()) {
        for (const path of [
          "src/kube/x.test.ts",
          "test/e2e/x.test.ts",
          "test/support/x.ts",
          "src/kube/x.ts",
        ]) {
          write(path.replace("x", `x${n}`), text);
        }
      }
      write("test/support/wait-for.ts", code[0]!);
      const { stdout, stderr } = spawnSync(
        join(root, "node_modules/.bin/biome"),
        ["lint", "--max-diagnostics=none"],
        {
          cwd: work,
          encoding: "utf8",
        },
      );
      const found = [...`${stdout}${stderr}`.matchAll(/^(\S+\.ts):\d+:\d+ lint\/style\/noRestricted/gm)].map(
        ([, at]) => at,
      );
      const wanted = code.flatMap((_, n) => [
        `src/kube/x${n}.test.ts`,
        `test/e2e/x${n}.test.ts`,
        `test/support/x${n}.ts`,
      ]);
      expect([...new Set(found)].sort()).toEqual(wanted.sort());
    } finally {
      rmSync(work, { recursive: true });
    }
  });
});

describe("generated files", () => {
  it("are what the code says", () => {
    execFileSync(process.execPath, ["scripts/generate.ts", "--check"], { cwd: root, stdio: "pipe" });
  });
});
