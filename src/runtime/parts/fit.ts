import { CAPABILITY_SETS, isBind, type RuntimeSpec, type SpecMount } from "./spec.ts";

/**
 * What the process of a checkpoint was given otherwise than the new container's would be: names of what differs, a
 * sentence's part each, such as `command`, `environment variable GREETING` or `mount /data`. Empty: they fit.
 *
 * Never in it: values, which may be secrets. Not compared: what differs from pod to pod by itself (names in
 * `perPodEnv`, HOSTNAME, the variables that tell of services, sandbox, cgroup, annotations, sources of mounts),
 * what the kernel applies anew (resources, AppArmor, SELinux, OOM score), and the runtime's own lists (system calls
 * of its seccomp profile, masked paths), which change with its version: of these only whether there are any.
 */
export function differences(
  dumped: RuntimeSpec,
  now: RuntimeSpec,
  options: {
    /** Names of environment variables that come from the pod's own fields. */
    perPodEnv?: readonly string[];
    /** The image's layers as this node has them, at the dump and now; only of one and the same node. */
    lowerDirectories?: { dumped: readonly string[]; now: readonly string[] };
  } = {},
): string[] {
  const { perPodEnv = [], lowerDirectories } = options;
  const [then, given] = [dumped.process, now.process];
  const user = ({ uid, gid, umask, additionalGids }: typeof then.user) => [
    uid,
    gid,
    umask,
    sorted(additionalGids),
  ];
  const capabilities = (all: typeof then.capabilities) => CAPABILITY_SETS.map((set) => sorted(all[set]));
  const isConfined = ({ linux }: RuntimeSpec) => [
    linux.maskedPaths.length > 0,
    linux.readonlyPaths.length > 0,
  ];
  const fields: [string, unknown, unknown][] = [
    ["image", lowerDirectories?.dumped, lowerDirectories?.now],
    ["command", then.args, given.args],
    ["working directory", then.cwd, given.cwd],
    ["user", user(then.user), user(given.user)],
    ["capabilities", capabilities(then.capabilities), capabilities(given.capabilities)],
    ["no new privileges", then.noNewPrivileges, given.noNewPrivileges],
    ["seccomp", dumped.linux.seccomp, now.linux.seccomp],
    ["masked paths", isConfined(dumped), isConfined(now)],
    ["read-only root", dumped.root.readonly, now.root.readonly],
    ["terminal", then.terminal, given.terminal],
  ];
  return [
    ...fields.filter(([, a, b]) => !isSame(a, b)).map(([name]) => name),
    ...environmentDifferences(then.env, given.env, perPodEnv).map((name) => `environment variable ${name}`),
    ...mountDifferences(dumped.mounts, now.mounts).map((destination) => `mount ${destination}`),
  ];
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function sorted<T extends string | number>(list: readonly T[]): T[] {
  return [...new Set(list)].sort((a, b) => (a < b ? -1 : 1));
}

/** Names in `a` and `b`, in their order, whose values are not the same. */
function differing(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name));
}

function environmentDifferences(
  dumped: readonly string[],
  now: readonly string[],
  perPodEnv: readonly string[],
): string[] {
  const [a, b] = [environment(dumped), environment(now)];
  const perPod = new Set(["HOSTNAME", ...perPodEnv]);
  return differing(a, b)
    .filter((name) => !perPod.has(name))
    .filter((name) => [a, b].some((all) => all.has(name) && !isServiceLink(name, all)))
    .map(printable);
}

/** The last of a name counts, as it does for a shell. What has no `=` is all name. */
function environment(variables: readonly string[]): Map<string, string> {
  return new Map(
    variables.map((variable) => {
      const at = variable.indexOf("=");
      return at < 0 ? [variable, ""] : [variable.slice(0, at), variable.slice(at + 1)];
    }),
  );
}

const ADDRESS = /^[0-9a-f.:]+$/i;
const PORT = /^[0-9]+$/;
const PORT_ADDRESS = /^(?:tcp|udp|sctp):\/\/\S+:[0-9]+$/;
/** Names and values of the variables that the kubelet makes for a Service (pkg/kubelet/envvars). */
const OF_SERVICE: readonly [RegExp, RegExp][] = [
  [/^([A-Z0-9_]+)_SERVICE_HOST$/, ADDRESS],
  [/^([A-Z0-9_]+?)_SERVICE_PORT(?:_[A-Z0-9_]+)?$/, PORT],
  [/^([A-Z0-9_]+)_PORT$/, PORT_ADDRESS],
  [/^([A-Z0-9_]+?)_PORT_[0-9]+_(?:TCP|UDP|SCTP)$/, PORT_ADDRESS],
  [/^([A-Z0-9_]+?)_PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR$/, ADDRESS],
  [/^([A-Z0-9_]+?)_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT$/, PORT],
  [/^([A-Z0-9_]+?)_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO$/, /^(?:tcp|udp|sctp)$/],
];

/**
 * Whether the kubelet put it there for a Service of the pod's namespace. A variable that only is named like one,
 * such as APP_PORT=8080, has another value, or comes without the others of its Service.
 */
function isServiceLink(name: string, all: ReadonlyMap<string, string>): boolean {
  const is = (wanted: RegExp, other: string): boolean => wanted.test(all.get(other) ?? "");
  return OF_SERVICE.some(([names, value]) => {
    const service = names.exec(name)?.[1];
    return (
      service !== undefined &&
      is(value, name) &&
      is(ADDRESS, `${service}_SERVICE_HOST`) &&
      is(PORT, `${service}_SERVICE_PORT`) &&
      is(PORT_ADDRESS, `${service}_PORT`)
    );
  });
}

/** Mounts are the same by what the process sees of them; where they come from differs from pod to pod. */
function mountDifferences(dumped: readonly SpecMount[], now: readonly SpecMount[]): string[] {
  const kinds = (mounts: readonly SpecMount[]) =>
    new Map(
      mounts.map(({ destination, type, options }) => [
        destination,
        `${isBind({ type, options }) ? "bind" : type} ${options.includes("ro") ? "ro" : "rw"}`,
      ]),
    );
  return differing(kinds(dumped), kinds(now)).map(printable);
}

/** For a message of one line. */
const printable = (name: string): string => name.replace(/[\0-\x1f\x7f]/g, "?").slice(0, 256);
