import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import type { Message } from "../src/agent/notes/decide.ts";
import { checkpointSpec } from "../src/api/checkpoint.ts";
import { customResourceDefinitions } from "../src/api/crd.ts";
import { downloadSpec } from "../src/api/download.ts";
import { ERRORS } from "../src/api/errors.ts";
import { API_VERSION } from "../src/api/group.ts";
import { NODE_ACCOUNT_LABELS } from "../src/api/node-account.ts";
import { requestSpec } from "../src/api/request.ts";
import { restoreSpec } from "../src/api/restore.ts";
import { clusterRetentionSpec, retentionSpec } from "../src/api/retention.ts";
import { restorePolicy, scheduleSpec } from "../src/api/schedule.ts";
import { settings } from "../src/api/settings.ts";
import { createProgram } from "../src/cli/program.ts";
import { testIo } from "../src/cli/testing/io.ts";

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const pages = ["README.md", ...globSync("docs/**/*.md", { cwd: root }).sort()];
const everyPage = pages.map((path) => [path, read(path)] as const);

/** What is looked at of a file in config/. */
interface Manifest {
  kind?: string;
  metadata?: { name?: string };
  spec?: { template?: { metadata?: { labels?: Record<string, string> } } };
}

const matchesOf = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map((match) => match[1]!);

/** The anchor that a forge gives a heading. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{Letter}\p{Number} _-]/gu, "")
    .replaceAll(" ", "-");

const fence = /^( *)```(\w*)\n([\s\S]*?)^\1```$/gm;
const codeOf = (text: string, language: string): string[] =>
  [...text.matchAll(fence)].filter((block) => block[2] === language).map((block) => block[3]!);
const withoutCode = (text: string): string => text.replace(fence, "");

/** Every YAML document in the pages, and in which. */
const examples = everyPage.flatMap(([path, text]) =>
  codeOf(text, "yaml").flatMap((code) =>
    parseAllDocuments(code).map((document) => {
      expect(document.errors, path).toEqual([]);
      return [path, document.toJS() as Record<string, unknown>] as const;
    }),
  ),
);

/** What an example of a kind may say: its schema with every unknown field refused. */
const specs: Record<string, z.ZodType> = {
  CheckpointSchedule: z.strictObject({ ...scheduleSpec.shape, restore: restorePolicy.strict().optional() }),
  CheckpointRequest: requestSpec.strict(),
  Checkpoint: checkpointSpec.strict(),
  CheckpointRestore: restoreSpec.strict(),
  CheckpointDownload: downloadSpec.strict(),
  CheckpointRetention: z.strictObject(retentionSpec.shape),
  ClusterCheckpointRetention: z.strictObject(clusterRetentionSpec.shape),
};
const manifest = (spec: z.ZodType) =>
  z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.string(),
    metadata: z.strictObject({ name: z.string(), namespace: z.string().optional() }),
    spec,
  });

describe.each(everyPage)("%s", (path, text) => {
  it("has no relative link that leads nowhere", () => {
    const broken = matchesOf(withoutCode(text), /\]\(([^)\s]+)\)/g)
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file = "", anchor] = link.split("#");
        const target = file === "" ? path : join(dirname(path), file);
        if (!existsSync(join(root, target))) return true;
        return (
          anchor !== undefined && !matchesOf(read(target), /^#+ (.*)$/gm).some((h) => anchorOf(h) === anchor)
        );
      });
    expect(broken).toEqual([]);
  });

  it("names no npm script that there is not", () => {
    const scripts = Object.keys(JSON.parse(read("package.json")).scripts);
    const named = matchesOf(text, /\bnpm run (?:-s )?([\w:-]+)/g);
    expect(named.filter((name) => !scripts.includes(name))).toEqual([]);
  });

  it("names only errors, folders and resources that exist", () => {
    const codes = matchesOf(
      text,
      /`((?:Kubelet|Registry|ImagePull|Invalid|Strategy|Restore|Node|Checkpoint)[A-Z]\w+)`/g,
    );
    const kinds = [
      ...Object.keys(specs),
      "CheckpointSchedules",
      "CheckpointRequests",
      "CheckpointRestores",
      "CheckpointDownloads",
      "CheckpointRetentions",
      "ClusterCheckpointRetentions",
    ];
    const known = [...Object.keys(ERRORS), ...kinds, "RestoreRefused" satisfies Message["reason"]];
    expect(codes.filter((code) => !known.includes(code))).toEqual([]);
    const folders = matchesOf(text, /`((?:src|config|docs|cluster|demo|bench|test|scripts)\/[\w./-]*)`/g);
    expect(folders.filter((folder) => !existsSync(join(root, folder)))).toEqual([]);
  });
});

describe("examples", () => {
  it.each(examples.filter(([, example]) => "kind" in example))(
    "of a kind in %s are valid",
    (_path, example) => {
      const spec = specs[String(example["kind"])];
      expect(spec, `kind ${example["kind"]}`).toBeDefined();
      expect(manifest(spec!).safeParse(example).error).toBeUndefined();
    },
  );

  it.each(examples.filter(([, example]) => "registry" in example))(
    "of settings in %s are valid, and the shipped settings.yaml is",
    (_path, example) => {
      expect(settings.safeParse(example).error).toBeUndefined();
      const [shipped] = parseAllDocuments(read("config/settings.yaml"));
      expect(settings.safeParse(shipped?.toJS()).error).toBeUndefined();
    },
  );

  it("are there", () => {
    const kinds = examples.map(([path, example]) => [path, example["kind"]]);
    expect(kinds).toContainEqual(["docs/guides/first-steps.md", "CheckpointSchedule"]);
    expect(kinds).toContainEqual(["docs/guides/first-steps.md", "CheckpointRequest"]);
    expect(kinds).toContainEqual(["docs/guides/first-steps.md", "CheckpointRestore"]);
    expect(examples.some(([path, example]) => path === "README.md" && "registry" in example)).toBe(true);
  });

  it("of patches in shell commands are fields of the schedule", () => {
    const patches = everyPage.flatMap(([, text]) =>
      codeOf(text, "sh").flatMap((code) => matchesOf(code, /patch ckpts .* -p '([^']+)'/g)),
    );
    expect(patches.length).toBeGreaterThan(0);
    for (const patch of patches) {
      const { spec } = JSON.parse(patch);
      expect(scheduleSpec.partial().strict().safeParse(spec).error, patch).toBeUndefined();
    }
  });
});

describe("commands", () => {
  const shell = everyPage.flatMap(([path, text]) =>
    codeOf(text, "sh").map((code) => [path, code.replaceAll("\\\n", " ")] as const),
  );
  const manifests = globSync("config/**/*.yaml", { cwd: root }).flatMap((path) =>
    parseAllDocuments(read(path)).map((document) => document.toJS() as Manifest),
  );
  const shipped = (kind: string, name: string): Manifest | undefined =>
    manifests.find((object) => object.kind?.toLowerCase() === kind && object.metadata?.name === name);

  it.each(shell)("in %s speak to objects that kcr ships", (_path, code) => {
    const named = [...code.matchAll(/\b(deployment|daemonset)[ /](kcr-[\w-]+)/g)];
    expect(
      named.filter(([, kind, name]) => shipped(kind!, name!) === undefined).map(([text]) => text),
    ).toEqual([]);
    const labels = [...code.matchAll(/-l ([\w./-]+)=([\w./-]+)/g)];
    const isLabelled = ([, key, value]: RegExpExecArray) =>
      Object.entries(NODE_ACCOUNT_LABELS).some(([own, given]) => own === key && given === value) ||
      manifests.some(({ spec }) => spec?.template?.metadata?.labels?.[key!] === value);
    expect(labels.filter((match) => !isLabelled(match)).map(([text]) => text)).toEqual([]);
  });

  it("that patch what kcr ships by a path find something there", () => {
    const patches = shell.flatMap(([, code]) => [
      ...code.matchAll(/patch (\w+) (kcr-[\w-]+) --type=json +-p '([^']+)'/g),
    ]);
    expect(patches.length).toBeGreaterThan(0);
    for (const [, kind, name, patch] of patches) {
      for (const { path } of JSON.parse(patch!) as { path: string }[]) {
        const parts = path.split("/").slice(1);
        const found = parts.reduce<unknown>(
          (all, key) => (all as Record<string, unknown>)?.[key],
          shipped(kind!, name!),
        );
        expect(found, path).toBeDefined();
      }
    }
  });

  it("of npm have the flags that they are given", () => {
    const scripts = JSON.parse(read("package.json")).scripts as Record<string, string>;
    const given = everyPage.flatMap(([path, text]) =>
      [...text.matchAll(/\bnpm run ([\w:-]+) -- ([^\n`]*)/g)].flatMap(([, script, words]) =>
        matchesOf(words!, /(?<=^| )--([\w-]+)/g).map((flag) => ({ path, script: script!, flag })),
      ),
    );
    expect(given.length).toBeGreaterThan(2);
    const programOf = (script: string) => read(scripts[script]!.split(" ")[1]!);
    const isKnown = ({ script, flag }: { script: string; flag: string }) =>
      new RegExp(`--${flag}(?![\\w-])`).test(programOf(script));
    expect(given.filter((one) => !isKnown(one))).toEqual([]);
  });
});

describe("command lines of kcr", () => {
  const program = createProgram(testIo());
  const lines = everyPage
    .filter(([path]) => !path.startsWith("docs/reference/cli/"))
    .flatMap(([path, text]) =>
      codeOf(text, "sh").flatMap((code) =>
        matchesOf(code.replaceAll("\\\n", " "), /^\s*(?:kubectl )?kcr ([^\n#|>]*)/gm).map(
          (words) => [path, words.trim()] as const,
        ),
      ),
    );

  it.each(lines)("in %s are understood: %s", (_path, text) => {
    const words = text.match(/'[^']*'|"[^"]*"|\S+/g) ?? [];
    let command: Command = program;
    let at = 0;
    for (; at < words.length; at++) {
      const next = command.commands.find(
        (one) => one.name() === words[at] || one.aliases().includes(words[at]!),
      );
      if (next === undefined) break;
      command = next;
    }
    expect(command, text).not.toBe(program);
    const known = [...command.options, ...program.options].flatMap(({ short, long }) => [short, long]);
    const given = words
      .slice(at)
      .filter((word) => /^--?[a-z]/.test(word))
      .map((word) => word.split("=")[0]!);
    expect(given.filter((flag) => !known.includes(flag))).toEqual([]);
  });

  it("are there", () => expect(lines.length).toBeGreaterThan(3));
});

it("every reason of an Event that the reference lists is given somewhere", () => {
  const [, section = ""] = read("docs/reference/annotations-labels.md").split("## Events of restores\n");
  const reasons = matchesOf(section.split("\n## ")[0]!, /^\| `(\w+)` \|/gm);
  const sources = globSync("src/**/*.ts", { cwd: root }).filter((path) => !path.endsWith(".test.ts"));
  const code = sources.map(read).join("\n");
  expect(reasons).toContain("Restored");
  expect(reasons.filter((reason) => !code.includes(`"${reason}"`) && !(reason in ERRORS))).toEqual([]);
});

it("the settings table names every setting with its default, and no other", () => {
  const rows = matchesOf(
    read("docs/guides/install.md"),
    /^\| `(store|engine|(?:registry|local|transfer|kubelet|runc|limits|retention|disk|restore|selftest|installer|runtime)\.\w+)` \|/gm,
  );
  const parsed = settings.parse({ registry: { push: "registry.example.com" } });
  const shape = Object.entries(settings.shape).flatMap(([part, { def }]) => {
    const inner = def.innerType as z.ZodType;
    return inner instanceof z.ZodObject ? Object.keys(inner.shape).map((key) => [part, key]) : [[part]];
  });
  expect(rows.sort()).toEqual(shape.map((path) => path.join(".")).sort());
  for (const path of shape) {
    const value = path.reduce<unknown>((all, key) => (all as Record<string, unknown>)?.[key], parsed);
    if (value === undefined || path.at(-1) === "push") continue;
    const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
    expect(read("docs/guides/install.md")).toContain(`| \`${path.join(".")}\` | \`${shown}\` |`);
  }
});

it("every error code of the reference is in the code", () => {
  const listed = matchesOf(read("docs/reference/errors.md"), /^## (\w+)$/gm);
  expect(listed).toEqual(Object.keys(ERRORS));
});

it("short names that the pages use are those of the CRDs", () => {
  const short = [...customResourceDefinitions().values()].flatMap(
    (crd) => (crd as { spec: { names: { shortNames: string[]; plural: string } } }).spec.names.shortNames,
  );
  const used = everyPage.flatMap(([, text]) => matchesOf(text, /\b(ckpt\w*)\b/g));
  expect(used.length).toBeGreaterThan(10);
  expect([...new Set(used)].filter((name) => !short.includes(name))).toEqual([]);
});
