import type { Random } from "./random.ts";
import { asText, mutated, NASTY } from "./random.ts";

/** One call of `create`, and what lies in kcr's directory when it comes. */
export interface CreateCase {
  /** `BUNDLE` in it stands for the bundle's path. */
  argv: string[];
  config: string;
  /** Undefined: the container has no plan. */
  plan?: string;
  last?: string;
  killed?: string;
  state?: string;
  /** How the recorder in the runtime's place ends, by command. */
  exits: Record<string, number>;
}

/** What lies ready: the sha256 names of copies, the first one good. */
export interface CaseContext {
  copies: string[];
}

const ID = "0f".repeat(32);
export const POD_UID = "5d9f3e3b-0000-4000-8000-000000000001";
const LAST = "ab".repeat(32);

/** A container's configuration as containerd writes it, as far as it matters here. */
export const goodConfig = (annotations: Record<string, string> = {}): object => ({
  ociVersion: "1.2.1",
  process: {
    user: { uid: 0, gid: 0 },
    args: ["/bin/sh", "-c", 'echo "\\"io.kubernetes.cri.sandbox-uid\\":\\"../../canary\\""'],
    env: ["PATH=/bin", "HOSTNAME=web", 'NASTY="io.kubernetes.cri.container-name":"x"'],
    cwd: "/",
    capabilities: { bounding: [], effective: [], permitted: [] },
    noNewPrivileges: true,
  },
  root: { path: "rootfs" },
  mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] }],
  annotations: {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "main",
    "io.kubernetes.cri.image-name": "busybox",
    "io.kubernetes.cri.sandbox-id": "box-1",
    "io.kubernetes.cri.sandbox-name": "web",
    "io.kubernetes.cri.sandbox-namespace": "default",
    "io.kubernetes.cri.sandbox-uid": POD_UID,
    ...annotations,
  },
  linux: { namespaces: [{ type: "pid" }, { type: "mount" }] },
});

/** @param planned share of the calls that have a plan: they start Node, and are dear. */
export function makeCase(random: Random, { copies }: CaseContext, { planned = 0.1 } = {}): CreateCase {
  const stamped: Record<string, string> = random.chance(0.02) ? { "kcr.io/restore-from": "c1" } : {};
  const isPlanned = random.chance(planned);
  let config: unknown = goodConfig(stamped);
  if (random.chance(isPlanned ? 0.25 : 0.5)) config = mutated(config, random);
  const made: CreateCase = {
    argv: argvOf(random),
    config: random.chance(isPlanned ? 0.95 : 0.8) ? JSON.stringify(config) : asText(config, random),
    exits: {
      create: random.pick([0, 0, 0, 1, 42]),
      restore: random.pick([0, 0, 0, 1, 137]),
      delete: random.pick([0, 1]),
    },
  };
  if (isPlanned) made.plan = planOf(random, copies);
  if (random.chance(0.7)) made.last = random.chance(0.9) ? lastOf(random) : random.pick(NASTY);
  if (random.chance(0.3)) made.killed = random.chance(0.8) ? LAST : random.pick(NASTY);
  if (random.chance(0.4)) made.state = stateOf(random, copies);
  return made;
}

function argvOf(random: Random): string[] {
  const globals = [
    ["--root", "/run/containerd/runc/k8s.io"],
    ["--log", "BUNDLE/log.json"],
    ["--log-format", "json"],
    ...(random.chance(0.3) ? [["--systemd-cgroup"]] : []),
    ...(random.chance(0.1) ? [["--debug"]] : []),
  ];
  const flags = [
    ["--bundle", "BUNDLE"],
    ["--pid-file", "BUNDLE/init.pid"],
    ...(random.chance(0.2) ? [["--console-socket", "/tmp/none.sock"]] : []),
    ...(random.chance(0.2) ? [["--no-pivot"]] : []),
    ...(random.chance(0.1) ? [["--no-new-keyring"]] : []),
    ...(random.chance(0.05) ? [["--preserve-fds", "1"]] : []),
    ...(random.chance(0.05) ? [["--unheard-of"]] : []),
  ];
  const joined = (parts: string[][]): string[] =>
    parts.flatMap(([name = "", value]) =>
      value !== undefined && random.chance(0.2)
        ? [`${name}=${value}`]
        : value === undefined
          ? [name]
          : [name, value],
    );
  const id = random.chance(0.9) ? ID : random.pick(NASTY.filter((text) => !text.includes("\0")));
  const argv = [...joined(globals), "create", ...joined(flags), id];
  if (random.chance(0.15))
    argv.splice(random.below(argv.length + 1), 0, random.pick(["-", "--", "-x", "", "extra"]));
  if (random.chance(0.1)) argv.splice(random.below(argv.length), 1);
  return argv;
}

/** Mostly the good one. */
const copyFrom = (copies: string[], random: Random): string =>
  random.chance(0.6) ? (copies[0] ?? "") : random.pick(copies);

const candidateOf = (copy: string, n: number): object => ({
  checkpoint: `c${n}`,
  uid: `uid-${n}`,
  copy,
  takenTime: "2026-01-01T00:00:00Z",
  containerID: LAST,
});

function planOf(random: Random, copies: string[]): string {
  const candidates = Array.from({ length: random.below(3) + 1 }, (_, n) =>
    candidateOf(copyFrom(copies, random), n),
  );
  const plan = {
    version: random.chance(0.95) ? 1 : 2,
    podUID: POD_UID,
    namespace: "default",
    pod: "web",
    container: "main",
    run: random.chance(0.9) ? LAST : "",
    onFailure: random.chance(0.9),
    fallback: random.chance(0.1) ? "Fail" : "FreshStart",
    onSpecChange: random.pick(["Fresh", "Restore"]),
    volumes: random.pick(["Capture", "Ignore", "Refuse"]),
    maxAttempts: 3,
    stableSeconds: 30,
    perPodEnv: ["PATH"],
    candidates,
    ...(random.chance(0.2)
      ? { armed: { id: "ask", candidate: candidateOf(copyFrom(copies, random), 9) } }
      : {}),
  };
  return random.chance(0.7) ? JSON.stringify(plan) : asText(mutated(plan, random), random);
}

const lastOf = (random: Random): string =>
  `id=${LAST}\nsandbox=${random.pick(["box-1", "box-2", ""])}\ntime=${random.pick(["1", "x", "-5", "9".repeat(40)])}\n`;

function stateOf(random: Random, copies: string[]): string {
  const state = {
    version: 1,
    chain: random.chance(0.7) ? ["zz", LAST] : [],
    restoredFrom: candidateOf(copyFrom(copies, random), 1),
    crashes: { "uid-1": random.below(5) },
    passedOver: random.chance(0.2) ? ["uid-0"] : [],
    used: random.chance(0.2) ? ["ask"] : [],
  };
  return random.chance(0.7) ? JSON.stringify(state) : asText(mutated(state, random), random);
}
