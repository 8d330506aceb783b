import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { parsePlan } from "../../src/store/plan.ts";
import { makeTar } from "../support/archive.ts";
import { type CreateCase, goodConfig, makeCase, POD_UID } from "./create-case.ts";
import { buildHandler, makeHome } from "./handler-home.ts";
import { Random } from "./random.ts";

export interface FuzzOptions {
  count: number;
  seed: number;
  /** How many at once. */
  workers?: number;
  /** Share of the calls that have a plan: they start Node, and take most of the time. Default a tenth. */
  planned?: number;
  /** Told after each hundred. */
  progress?: (done: number) => void;
}

export interface FuzzResult {
  count: number;
  /** How the calls ended: in the real `create`, restored, refused because the plan says Fail. */
  created: number;
  restored: number;
  refused: number;
  /** Calls that were passed on because they are no `create` that can be understood. */
  passed: number;
  /** What should not have been, with the number of its case. */
  wrong: string[];
}

/** In the real runtime's place: writes down what it is told, ends as it is told. */
const RECORDER = `#!/bin/sh
printf '%s\\037' "$@" >>"$KCR_FUZZ/calls"
printf '\\036' >>"$KCR_FUZZ/calls"
for word; do
  case $word in create | restore | delete)
    read -r code <"$KCR_FUZZ/exit-$word"
    exit "$code" ;;
  esac
done
exit 7
`;

/**
 * Calls the real handler (its C program, its Node part in a real Node) with whatever may come, and a recorder in
 * the real runtime's place.
 *
 * Each call must end in the runtime's own `create` with the very arguments and its exit code, or in a restore that
 * went well; with exit code 1 and nothing run only where a valid plan says Fail. Nothing is written outside of
 * kcr's directory but to the container's root file system.
 *
 * Needs root: the root file system is an overlay that is mounted for the run.
 */
export async function fuzzCreate(options: FuzzOptions): Promise<FuzzResult> {
  const { count, seed, workers = 2, planned = 0.1, progress = () => {} } = options;
  const root = mkdtempSync(join(tmpdir(), "kcr-fuzz-"));
  const result: FuzzResult = { count, created: 0, restored: 0, refused: 0, passed: 0, wrong: [] };
  const benches: Bench[] = [];
  try {
    const built = await buildHandler(root);
    let next = 0;
    const work = async (bench: Bench): Promise<void> => {
      while (next < count && result.wrong.length < 20) {
        const number = next++;
        const random = new Random(seed + number);
        const found = await bench.play(makeCase(random, bench, { planned }));
        if (typeof found === "string") result[found as "created"]++;
        else result.wrong.push(`seed ${seed}, case ${number}: ${found.wrong}`);
        if ((number + 1) % 100 === 0) progress(number + 1);
      }
    };
    for (let n = 0; n < workers; n++) benches.push(await Bench.make(join(root, String(n)), built));
    await Promise.all(benches.map(work));
    for (const bench of benches) {
      const wrong = bench.trespass();
      if (wrong !== undefined) result.wrong.push(wrong);
    }
    return result;
  } finally {
    for (const bench of benches) bench.unmount();
    rmSync(root, { recursive: true, force: true });
  }
}

type Played = "created" | "restored" | "refused" | "passed" | { wrong: string };

/** One container's surroundings. */
class Bench {
  readonly copies: string[];
  readonly #root: string;
  readonly #program: string;
  #before = "";

  private constructor(root: string, program: string, copies: string[]) {
    this.#root = root;
    this.#program = program;
    this.copies = copies;
  }

  static async make(root: string, built: string): Promise<Bench> {
    for (const name of ["bundle/rootfs", "lower/etc", "upper", "work", "canary", "store"]) {
      mkdirSync(join(root, name), { recursive: true });
    }
    writeFileSync(join(root, "canary/canary"), "alive");
    writeFileSync(join(root, "lower/etc/old"), "of the image");
    writeFileSync(join(root, "recorder"), RECORDER, { mode: 0o755 });
    const program = await makeHome(join(root, "home"), built, {
      runtime: join(root, "recorder"),
      state: join(root, "state"),
      containerd_root: join(root, "containerd"),
      wait_seconds: "0",
    });
    const copies = await makeCopies(join(root, "store"));
    const bench = new Bench(root, program, copies);
    const overlay = ["lower", "upper", "work"].map((name) => `${name}dir=${join(root, name)}`).join(",");
    sh("mount", "-t", "overlay", "overlay", "-o", overlay, join(root, "bundle/rootfs"));
    bench.#before = bench.#outside();
    return bench;
  }

  async play(given: CreateCase): Promise<Played> {
    const bundle = join(this.#root, "bundle");
    const calls = join(this.#root, "calls");
    const state = join(this.#root, "state");
    rmSync(state, { recursive: true, force: true });
    for (const name of ["plans", "runs"]) mkdirSync(join(state, name, POD_UID, "main"), { recursive: true });
    cpSync(join(this.#root, "store"), join(state, "store"), { recursive: true });
    rmSync(calls, { force: true });
    writeFileSync(join(bundle, "config.json"), given.config);
    const write = (path: string, text: string | undefined): void => {
      if (text !== undefined) writeFileSync(join(state, path), text);
    };
    write(`plans/${POD_UID}/main.json`, given.plan);
    for (const [name, text] of Object.entries({
      last: given.last,
      killed: given.killed,
      "state.json": given.state,
    })) {
      write(`runs/${POD_UID}/main/${name}`, text);
    }
    for (const [command, code] of Object.entries(given.exits)) {
      writeFileSync(join(this.#root, `exit-${command}`), `${code}\n`);
    }
    const argv = given.argv.map((word) => word.replaceAll("BUNDLE", bundle));
    const code = await ended(this.#program, argv, bundle, this.#root);
    return this.#judge(given, argv, code, readCalls(calls));
  }

  #judge(given: CreateCase, argv: string[], code: number, calls: string[][]): Played {
    const wrong = (why: string): Played => ({
      wrong: `${why}; exit code ${code}; ${JSON.stringify({ argv, calls, plan: given.plan, config: given.config })}`,
    });
    const last = calls.at(-1);
    const isSame = last?.length === argv.length && last.every((word, i) => word === argv[i]);
    if (isSame) {
      const creates = argv.find((word) => word === "create" || word === "restore" || word === "delete");
      const expected = creates === undefined ? 7 : given.exits[creates];
      if (code !== expected) return wrong(`the runtime ended with ${expected}`);
      if (readdirSync(join(this.#root, "upper")).length > 0)
        return wrong("a fresh start found files of a restore");
      return creates === "create" ? "created" : "passed";
    }
    if (last?.includes("restore") && given.exits["restore"] === 0) {
      if (code !== 0) return wrong("it was restored");
      this.#reset();
      return "restored";
    }
    const plan = given.plan === undefined ? undefined : parsePlan(given.plan);
    if (code === 1 && plan?.fallback === "Fail") return "refused";
    return wrong("neither the runtime's own create nor a restore");
  }

  /** As for the next container: a root file system that nothing was written to. */
  #reset(): void {
    sh(this.#program, "--kcr-reset-overlay", join(this.#root, "bundle/rootfs"));
  }

  /** What was written where nothing may be. */
  trespass(): string | undefined {
    return this.#outside() === this.#before
      ? undefined
      : `something outside of kcr's directory changed: ${this.#root}`;
  }

  #outside(): string {
    const hash = createHash("sha256");
    const walk = (path: string): void => {
      for (const entry of readdirSync(path, { withFileTypes: true }).sort((a, b) =>
        a.name < b.name ? -1 : 1,
      )) {
        const inside = join(path, entry.name);
        hash.update(`${inside}\n`);
        if (entry.isDirectory()) walk(inside);
        else if (entry.isFile()) hash.update(readFileSync(inside));
      }
    };
    for (const name of ["canary", "lower", "home/runtime.mjs", "store"]) {
      const path = join(this.#root, name);
      if (name.includes(".")) hash.update(readFileSync(path));
      else walk(path);
    }
    // No file more beside those that belong here.
    hash.update(
      readdirSync(this.#root)
        .filter((name) => !/^(calls|exit-.*|state)$/.test(name))
        .join(),
    );
    hash.update(
      readdirSync(join(this.#root, "bundle"))
        .filter((name) => !/^(config\.json|log\.json)$/.test(name))
        .join(),
    );
    return hash.digest("hex");
  }

  unmount(): void {
    spawnSync("umount", ["-l", join(this.#root, "bundle/rootfs")]);
  }
}

function sh(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
}

function ended(program: string, argv: string[], cwd: string, root: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const env = { PATH: process.env["PATH"], KCR_FUZZ: root };
  const child = spawn(program, argv, { cwd, env, stdio: "ignore" });
  child.once("error", reject);
  child.once("exit", (code, signal) => resolve(code ?? (signal === null ? -1 : -2)));
  return promise;
}

function readCalls(path: string): string[][] {
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return [];
  }
  return text
    .split("\u001e")
    .slice(0, -1)
    .map((call) => call.split("\u001f").slice(0, -1));
}

/** A good copy, one with a hostile root file system, a damaged one, and a name of none. */
async function makeCopies(store: string): Promise<string[]> {
  const sha256 = (data: Uint8Array | string): string => createHash("sha256").update(data).digest("hex");
  const make = async (
    name: string,
    entries: Parameters<typeof makeTar>[0],
    damage = false,
  ): Promise<string> => {
    const archive = sha256(name);
    const directory = join(store, "copies", archive);
    const files: Record<string, Uint8Array | string> = {
      "spec.dump": JSON.stringify(goodConfig()),
      "config.dump": "{}",
      "rootfs-diff.tar": gzipSync(await makeTar(entries)),
      "checkpoint/inventory.img": "inventory",
      "checkpoint/pages-1.img": "pages",
    };
    mkdirSync(join(directory, "checkpoint"), { recursive: true });
    const index = {
      version: 1,
      archive,
      engine: "containerd",
      files: [] as object[],
      openForWriting: [],
      mounts: [],
    };
    for (const [path, content] of Object.entries(files)) {
      writeFileSync(join(directory, path), content);
      index.files.push({ path, size: Buffer.byteLength(content), sha256: sha256(content) });
    }
    writeFileSync(join(directory, "copy.json"), JSON.stringify(index));
    if (damage) writeFileSync(join(directory, "checkpoint/inventory.img"), "inventorx");
    return archive;
  };
  return [
    await make("good", [
      { name: "etc/new", content: "written" },
      { name: "etc/.wh.old", content: "" },
      { name: "link", type: "symlink", linkname: "/etc/new" },
    ]),
    await make("hostile", [
      { name: "out", type: "symlink", linkname: "../../../canary" },
      { name: "out/canary", content: "dead" },
      { name: "../../canary/canary", content: "dead" },
    ]),
    await make("damaged", [{ name: "etc/new", content: "written" }], true),
    sha256("nothing"),
  ];
}
