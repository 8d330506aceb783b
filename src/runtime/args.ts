/** One call of an OCI runtime, as containerd's shim and conmon make them. */
export interface Call {
  /** Flags before the command, as given. */
  globals: string[];
  command: string;
  /** Flags of the command by name, without dashes; "" for those without a value. */
  flags: Map<string, string>;
  /** What is neither: the container's ID first. */
  words: string[];
}

/** Flags that are followed by their value; those of runc 1.x, and of crun 1.x where they differ. */
const GLOBAL_VALUES = new Set(["root", "log", "log-format", "criu", "rootless", "cgroup-manager"]);
const GLOBAL_BOOLS = new Set(["debug", "systemd-cgroup"]);
const VALUES: Record<string, ReadonlySet<string>> = {
  create: new Set(["bundle", "b", "console-socket", "pid-file"]),
  checkpoint: new Set([
    "image-path",
    "work-path",
    "parent-path",
    "status-fd",
    "page-server",
    "manage-cgroups-mode",
    "empty-ns",
  ]),
  delete: new Set(),
};
const BOOLS: Record<string, ReadonlySet<string>> = {
  create: new Set(["no-pivot", "no-new-keyring"]),
  checkpoint: new Set([
    "leave-running",
    "tcp-established",
    "tcp-skip-in-flight",
    "link-remap",
    "ext-unix-sk",
    "shell-job",
    "lazy-pages",
    "file-locks",
    "pre-dump",
    "auto-dedup",
  ]),
  delete: new Set(["force", "f"]),
};

/**
 * Understands `[global flags] create|checkpoint|delete [flags] <id>`; undefined for anything else, and for flags that it
 * does not know: of those it cannot be told whether a value follows, nor what a restore would have to make of them.
 */
export function parseCall(argv: readonly string[]): Call | undefined {
  const globals: string[] = [];
  let at = 0;
  for (; at < argv.length && argv[at]!.startsWith("-"); at++) {
    const { name, value } = flagOf(argv[at]!);
    globals.push(argv[at]!);
    if (GLOBAL_BOOLS.has(name)) continue;
    if (!GLOBAL_VALUES.has(name)) return undefined;
    if (value !== undefined) continue;
    if (++at >= argv.length) return undefined;
    globals.push(argv[at]!);
  }
  const command = argv[at++];
  const values = VALUES[command ?? ""];
  const bools = BOOLS[command ?? ""];
  if (command === undefined || values === undefined || bools === undefined) return undefined;
  const flags = new Map<string, string>();
  const words: string[] = [];
  for (; at < argv.length; at++) {
    const word = argv[at]!;
    if (!word.startsWith("-") || word === "-") {
      words.push(word);
      continue;
    }
    const { name, value } = flagOf(word);
    if (bools.has(name)) flags.set(name, "");
    else if (!values.has(name)) return undefined;
    else if (value !== undefined) flags.set(name, value);
    else if (++at < argv.length) flags.set(name, argv[at]!);
    else return undefined;
  }
  const bundle = flags.get("b");
  if (bundle !== undefined) flags.set("bundle", bundle);
  return words.length === 1 ? { globals, command, flags, words } : undefined;
}

function flagOf(word: string): { name: string; value: string | undefined } {
  const bare = word.replace(/^--?/, "");
  const at = bare.indexOf("=");
  return at < 0 ? { name: bare, value: undefined } : { name: bare.slice(0, at), value: bare.slice(at + 1) };
}

/** Where the runtime keeps its containers unless `--root` says otherwise. */
export const DEFAULT_RUNTIME_ROOT = "/run/runc";

/** Value of a global flag, the last if it is given twice. */
export function globalValue(call: Call, flag: string): string | undefined {
  let found: string | undefined;
  for (const [i, word] of call.globals.entries()) {
    const { name, value } = flagOf(word);
    if (name === flag && word.startsWith("-")) found = value ?? call.globals[i + 1];
  }
  return found;
}

/** The `restore` that stands in for a `create`; `more` are flags that the checkpoint was made with. */
export function restoreArguments(
  call: Call,
  { imagePath, workPath, more = [] }: { imagePath: string; workPath: string; more?: readonly string[] },
): string[] {
  const { flags, globals, words } = call;
  const passed = ["bundle", "pid-file", "console-socket"].flatMap((name) => {
    const value = flags.get(name);
    return value === undefined ? [] : [`--${name}`, value];
  });
  return [
    ...globals,
    "restore",
    "--detach",
    "--image-path",
    imagePath,
    "--work-path",
    workPath,
    "--manage-cgroups-mode",
    "ignore",
    ...more,
    ...passed,
    ...(flags.has("no-pivot") ? ["--no-pivot"] : []),
    ...words,
  ];
}
