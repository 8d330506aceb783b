import type { Checkpoint } from "../../api/checkpoint.ts";
import type { ContainerStatus, PodContainer } from "../../api/pod.ts";
import { specHash } from "../../api/spec-hash.ts";

/** What is read of `spec.dump`: the OCI runtime's configuration of the process that was dumped. */
export interface DumpedSpec {
  process?: { args?: string[]; env?: string[] };
  mounts?: { destination?: string; type?: string; options?: string[] }[];
}

/** Whether the container's program, or what its pod gives it, is not what it was when the Checkpoint was taken. */
export interface Change {
  image: boolean;
  /** Anything else. */
  given: boolean;
}

export function changeSince(
  { status }: Checkpoint,
  container: PodContainer,
  now: ContainerStatus | undefined,
): Change {
  const { baseImage, baseImageDigest, specHash: taken } = status ?? {};
  const image = container.image ?? "";
  const digest = digestIn(now?.imageID);
  const isSameImage =
    baseImage === undefined ||
    baseImage === image ||
    (digest !== undefined && digest === digestIn(baseImageDigest));
  // By the image's name of then, for that is judged by itself.
  return {
    image: !isSameImage,
    given: taken !== undefined && specHash(container, baseImage ?? image) !== taken,
  };
}

/**
 * Names of what the pod gives its container otherwise than the dumped process had it, a sentence's part each, as
 * the handler names them. Never values, which may be secrets.
 *
 * Caveats: what the pod does not say itself cannot be compared: what its image adds, what comes from Secrets and
 * ConfigMaps, what is made of other variables.
 */
export function differences(container: PodContainer, dumped: DumpedSpec): string[] {
  const { args = [], env = [] } = dumped.process ?? {};
  const had = new Map(env.map((variable) => [nameOf(variable), variable.slice(nameOf(variable).length + 1)]));
  const variables = (container.env ?? [])
    .filter(({ name, value = "", valueFrom }) => {
      if (valueFrom !== undefined) return !had.has(name);
      return !isExpanded(value) && had.get(name) !== value;
    })
    .map(({ name }) => `environment variable ${name}`);

  const mounted = new Set((container.volumeMounts ?? []).map(({ mountPath }) => withoutSlash(mountPath)));
  const binds = (dumped.mounts ?? []).filter(
    ({ type, options }) => type === "bind" || options?.includes("rbind"),
  );
  const hadMounts = binds
    .map(({ destination = "" }) => withoutSlash(destination))
    .filter((path) => !isOwn(path));
  const mounts = [
    ...[...mounted].filter((path) => !isOwn(path) && !hadMounts.includes(path)),
    ...hadMounts.filter((path) => !mounted.has(path)),
  ].map((path) => `mount ${path}`);
  return [...(isCommandOf(container, args) ? [] : ["command"]), ...variables, ...mounts].map(printable);
}

/** Whether the process can have been started so; what the image says of it is not known here. */
function isCommandOf({ command = [], args = [] }: PodContainer, had: readonly string[]): boolean {
  if ([...command, ...args].some(isExpanded)) return true;
  if (command.length > 0) return isSame([...command, ...args], had);
  return args.length === 0 || isSame(args, had.slice(-args.length));
}

const isSame = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((text, i) => text === b[i]);
/** The kubelet puts values of other variables in. */
const isExpanded = (text: string): boolean => text.includes("$(") || text.includes("$$");
const nameOf = (variable: string): string => variable.split("=", 1)[0] ?? "";
const withoutSlash = (path: string): string => path.replace(/(.)\/+$/, "$1");
const digestIn = (image: string | undefined): string | undefined =>
  /sha256:[0-9a-f]{64}/.exec(image ?? "")?.[0];
/** For a message of one line. */
const printable = (name: string): string => name.replace(/[\x00-\x1f\x7f]/g, "?").slice(0, 256);

/** Mounts that every container gets from kubelet and runtime. */
const OWN = [
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/dev/shm",
  "/dev/termination-log",
  "/var/run/secrets/kubernetes.io/serviceaccount",
];
const isOwn = (path: string): boolean => OWN.includes(path);
