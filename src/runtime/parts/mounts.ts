import { posix } from "node:path";
import type { CopyIndex, HandlerNote } from "../../store/copy.ts";
import type { Plan } from "../../store/plan.ts";
import { isBind, type RuntimeSpec, type SpecMount } from "./spec.ts";

/** Mount points that the dump has and the new container lacks: CRIU cannot restore without them. */
export function missingMounts(index: Pick<CopyIndex, "mounts">, spec: Pick<RuntimeSpec, "mounts">): string[] {
  const there = new Set(spec.mounts.map(({ destination }) => normal(destination)));
  return index.mounts.filter((destination) => !there.has(normal(destination)));
}

/**
 * The first file that was open for writing on a volume whose files would not be those of the checkpoint; undefined
 * when there is none, so that memory and files agree. With policy Refuse volumes that were captured count too.
 * `spec` is the new container's, `note` the handler's of the dump, if it saw it.
 */
export function divergingPath(
  index: Pick<CopyIndex, "openForWriting">,
  note: Pick<HandlerNote, "captured"> | undefined,
  spec: Pick<RuntimeSpec, "mounts">,
  policy: Plan["volumes"],
): string | undefined {
  if (policy === "Ignore") return undefined;
  const captured = new Set(note?.captured.map(({ destination }) => normal(destination)));
  return index.openForWriting.find((path) => {
    const mount = mountOf(path, spec.mounts);
    if (!mount || !isWritableVolume(mount)) return false;
    const comesBack = captured.has(normal(mount.destination)) && emptyDirOf(mount) !== undefined;
    return policy === "Refuse" || !comesBack;
  });
}

/** The mount that a path lies on, of several the innermost; undefined for the root file system. */
export function mountOf(path: string, mounts: readonly SpecMount[]): SpecMount | undefined {
  const file = normal(path);
  const over = mounts.filter(({ destination }) => {
    const at = normal(destination);
    return file === at || file.startsWith(at === "/" ? at : `${at}/`);
  });
  // Of two at one place the later one lies over the other.
  return over.reduce<SpecMount | undefined>(
    (inner, mount) =>
      inner && normal(inner.destination).length > normal(mount.destination).length ? inner : mount,
    undefined,
  );
}

/**
 * Whether a mount is a volume that the process can write to. No volumes are files that the kubelet and the runtime
 * make for each container, and volumes that the kubelet fills from objects.
 */
export function isWritableVolume(mount: SpecMount): boolean {
  return isBind(mount) && !mount.options.includes("ro") && !isOfPod(mount) && !isFromObject(mount);
}

const OF_POD = [
  // The kubelet's: termination log and hosts file.
  /\/pods\/[^/]+\/(?:containers\/.+|etc-hosts)$/,
  // containerd's and CRI-O's, of the sandbox. Its /shm is none of them: that is written to.
  /\/sandboxes\/[^/]+\/(?:hostname|hosts|resolv\.conf)$/,
  /\/overlay-containers\/[^/]+\/userdata\/(?:hostname|hosts|resolv\.conf|\.containerenv)$/,
];
const DESTINATIONS_OF_POD = new Set([
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/dev/termination-log",
  "/run/.containerenv",
]);

const isOfPod = ({ destination, source }: SpecMount): boolean =>
  DESTINATIONS_OF_POD.has(normal(destination)) || OF_POD.some((pattern) => pattern.test(normal(source)));

const isFromObject = ({ source }: SpecMount): boolean =>
  /\/pods\/[^/]+\/volumes\/kubernetes\.io~(?:configmap|secret|projected|downward-api)\/[^/]+$/.test(
    normal(source),
  );

/** The emptyDir behind a mount: its pod and its name; undefined for any other mount. */
export function emptyDirOf({
  source,
}: Pick<SpecMount, "source">): { podUID: string; name: string } | undefined {
  const found = /^\/.*\/pods\/([A-Za-z0-9-]{1,64})\/volumes\/kubernetes\.io~empty-dir\/([^/]+)$/.exec(source);
  const [, podUID, name] = found ?? [];
  if (podUID === undefined || name === undefined || posix.normalize(source) !== source) return undefined;
  return /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name) ? { podUID, name } : undefined;
}

const normal = (path: string): string => posix.normalize(`/${path}`).replace(/(?<=.)\/$/, "");
