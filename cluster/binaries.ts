import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { hostCgroups } from "./cgroups.ts";
import { ensurePackages } from "./debian.ts";
import { withLock } from "./lock.ts";
import { cacheDir, clusterSource } from "./paths.ts";
import { type Progress, silent } from "./progress.ts";
import { available, CommandError, lastLines, run } from "./run.ts";

/** A folder of cluster/go: a Go module that pins one program and everything it is made of. */
interface Module {
  /** Command name -> the Go package it is built from. */
  commands: Record<string, string>;
  tags?: string;
  ldflags?: string;
  /** Whether it links C code. */
  cgo?: boolean;
}

const containerd = (version: string): Module => ({
  commands: Object.fromEntries(
    ["containerd", "containerd-shim-runc-v2", "ctr"].map((name) => [
      name,
      `github.com/containerd/containerd/v2/cmd/${name}`,
    ]),
  ),
  tags: "no_btrfs,no_devmapper,no_zfs",
  ldflags: `-X github.com/containerd/containerd/v2/version.Version=v${version}`,
});

const kubernetesVersion = "1.36.3";
const [major, minor] = kubernetesVersion.split(".");

const modules = {
  kubernetes: {
    commands: Object.fromEntries(
      ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "kube-proxy"].map(
        (name) => [name, `k8s.io/kubernetes/cmd/${name}`],
      ),
    ),
    ldflags: [
      `-X k8s.io/component-base/version.gitVersion=v${kubernetesVersion}`,
      `-X k8s.io/component-base/version.gitMajor=${major}`,
      `-X k8s.io/component-base/version.gitMinor=${minor}`,
    ].join(" "),
  },
  "containerd-2.3": containerd("2.3.7"),
  "containerd-2.4": containerd("2.4.2"),
  runc: { commands: { runc: "github.com/opencontainers/runc" }, tags: "seccomp", cgo: true },
  etcd: { commands: { etcd: "go.etcd.io/etcd/server/v3" } },
  cni: {
    commands: Object.fromEntries(
      ["main/bridge", "main/loopback", "ipam/host-local", "meta/portmap"].map((path) => [
        path.slice(path.indexOf("/") + 1),
        `github.com/containernetworking/plugins/plugins/${path}`,
      ]),
    ),
  },
  // No part of a cluster: a reader of archives that is not ours.
  checkpointctl: { commands: { checkpointctl: "github.com/checkpoint-restore/checkpointctl" } },
  registry: { commands: { registry: "github.com/distribution/distribution/v3/cmd/registry" } },
} satisfies Record<string, Module>;

type ModuleName = keyof typeof modules;

/** One command, as `<module>/<command>`: `kubernetes/kubectl`, `containerd-2.3/ctr`, `etcd/etcd`. */
export type BinaryPart = `${ModuleName}/${string}`;

/** Every command the local cluster is made of. */
export const allBinaries: readonly BinaryPart[] = (Object.keys(modules) as ModuleName[]).flatMap((module) =>
  Object.keys(modules[module].commands).map((command): BinaryPart => `${module}/${command}`),
);

/** The lowest Go that every module builds with, for machines where Go may not fetch a newer one by itself. */
async function neededGo(): Promise<string> {
  const needs = await Promise.all(
    Object.keys(modules).map(async (module) => {
      const goMod = await readFile(join(clusterSource, "go", module, "go.mod"), "utf8");
      return /^go (\S+)$/m.exec(goMod)?.[1] ?? "1.26";
    }),
  );
  return needs.reduce((a, b) => (compareGo(a, b) >= 0 ? a : b));
}

/** Orders Go versions (`1.26.8`, `go1.21rc2`) by their numbers. */
export function compareGo(a: string, b: string): number {
  const numbers = (version: string) => version.replace(/^go/, "").split(/\D+/).map(Number);
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Why this Go cannot build the parts, or undefined.
 *
 * @param version what `go env GOVERSION` says outside any module.
 * @param toolchain what `go env GOTOOLCHAIN` says: `local` and `path` forbid fetching a newer Go.
 * @see https://go.dev/doc/toolchain
 */
export function whyNotGo(version: string, toolchain: string, needed: string): string | undefined {
  if (compareGo(version, needed) >= 0) return undefined;
  if (compareGo(version, "1.21") < 0)
    return `Go ${needed} is needed (or 1.21, which fetches it), not ${version}`;
  const mayFetch = toolchain === "auto" || toolchain.endsWith("+auto");
  return mayFetch
    ? undefined
    : `Go ${needed} is needed, not ${version}, which may not fetch it (GOTOOLCHAIN=${toolchain})`;
}

/** An error in one line: the last that a command has written, where there is one. */
function briefly(error: unknown): string {
  const text =
    error instanceof CommandError ? error.tail : error instanceof Error ? error.message : String(error);
  return lastLines(text, 1);
}

/** Why the Go commands (an API server and etcd, say) cannot be built on this machine, or undefined. Quick. */
export async function whyNotBinaries(): Promise<string | undefined> {
  if (process.platform !== "linux") return `Linux is needed, not ${process.platform}`;
  if (!(await available("flock"))) return "flock (package util-linux) is needed";
  if (!(await available("go"))) return "Go 1.21 or newer is needed";
  let env: string;
  try {
    env = await run(["go", "env", "GOVERSION", "GOTOOLCHAIN"], { cwd: "/" });
  } catch (error) {
    return `go does not work: ${briefly(error)}`;
  }
  const [version = "", toolchain = ""] = env.trim().split("\n");
  return whyNotGo(version, toolchain, await neededGo());
}

/** Why the local cluster cannot run on this machine, or undefined. Quick; made for tests and demo to skip with. */
export async function whyNotCluster(): Promise<string | undefined> {
  if (process.platform !== "linux") return `Linux is needed, not ${process.platform}`;
  if (process.getuid?.() !== 0) return "root is needed";
  if (!(await available("debootstrap")) && !(await available("apt-get"))) {
    return "debootstrap is needed (on Debian and Ubuntu it is installed when it is missing)";
  }
  try {
    await run(["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]);
    await hostCgroups();
  } catch (error) {
    return `this machine does not let root make namespaces or control groups: ${briefly(error)}`;
  }
  return whyNotBinaries();
}

export interface EnsureOptions {
  progress?: Progress;
  signal?: AbortSignal;
}

/**
 * Builds the commands that are not in the cache yet, and returns the absolute path of each.
 *
 * Guarantees: versions are those of go.mod and go.sum; a path that is returned is a whole binary (built aside
 * and renamed); processes that need the same module at once build it once. The cache is keyed by go.mod,
 * go.sum, the Go version and the flags, so nothing stale is ever used. Root is needed only where runc's C
 * library has to be installed first.
 *
 * Errors: `CommandError` with the tail of the compiler's output; an Error that says which package is missing.
 */
export async function ensureBinaries(
  parts: readonly BinaryPart[] | "all",
  { progress = silent, signal }: EnsureOptions = {},
): Promise<Record<BinaryPart, string>> {
  const wanted = parts === "all" ? allBinaries : parts;
  const byModule = Map.groupBy(wanted, (part) => part.slice(0, part.indexOf("/")) as ModuleName);
  const paths: Record<BinaryPart, string> = {};
  for (const [module, ofModule] of byModule) {
    const commands = ofModule.map((part) => part.slice(module.length + 1));
    const dir = await ensureModule(module, commands, progress, signal);
    for (const [i, part] of ofModule.entries()) paths[part] = join(dir, commands[i]!);
  }
  return paths;
}

/** Builds what is missing of one module's commands; returns the directory that holds them. */
async function ensureModule(
  name: ModuleName,
  commands: readonly string[],
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<string> {
  const module: Module = modules[name];
  const source = join(clusterSource, "go", name);
  const flags = [
    "-trimpath",
    ...(module.tags ? ["-tags", module.tags] : []),
    "-ldflags",
    ["-s -w", module.ldflags].filter(Boolean).join(" "),
  ];
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    CGO_ENABLED: module.cgo ? "1" : "0",
    GOFLAGS: "-mod=readonly",
    GOWORK: "off",
  };
  const goVersion = await run(["go", "version"], { cwd: source, env, signal });
  const key = createHash("sha256")
    .update(await readFile(join(source, "go.mod")))
    .update(await readFile(join(source, "go.sum")))
    .update(JSON.stringify([goVersion, flags, module.commands]))
    .digest("hex")
    .slice(0, 16);
  const dir = cacheDir("bin", `${name}-${key}`);
  if ((await missingFrom(dir, commands)).length === 0) return dir;

  await progress.task(`building ${name}`, (detail) =>
    withLock(
      cacheDir("bin", `${name}.lock`),
      async () => {
        const missing = await missingFrom(dir, commands);
        if (missing.length === 0) return;
        if (module.cgo)
          await ensurePackages(["gcc", "libc6-dev", "pkg-config", "libseccomp-dev"], progress, signal);
        await mkdir(dir, { recursive: true });
        const work = await mkdtemp(join(dir, ".building-"));
        try {
          for (const [i, command] of missing.entries()) {
            let compiled = 0;
            const label = `${command} (${i + 1} of ${missing.length})`;
            detail(label);
            await run(["go", "build", "-v", ...flags, "-o", join(work, command), module.commands[command]!], {
              cwd: source,
              env,
              signal,
              onLine: (line) => {
                const what = line.startsWith("go: downloading")
                  ? line.slice(4)
                  : `${++compiled} packages compiled`;
                detail(`${label}, ${what}`);
              },
            });
            await rename(join(work, command), join(dir, command));
          }
        } finally {
          await rm(work, { recursive: true, force: true });
        }
      },
      { signal, waiting: () => detail("waiting for another process that builds it") },
    ),
  );
  return dir;
}

async function missingFrom(dir: string, commands: readonly string[]): Promise<string[]> {
  const there = await Promise.all(
    commands.map((command) =>
      access(join(dir, command)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return commands.filter((_, i) => !there[i]);
}
