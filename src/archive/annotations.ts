import type { CheckpointArchive } from "./checkpoint.ts";

/** What an archive does not say of itself, and whoever was there when it was made may know. */
export interface CheckpointHost {
  engineVersion?: string;
  runtimeVersion?: string;
  criuVersion?: string;
  kernel?: string;
  /** "v1" or "v2". */
  cgroupVersion?: string;
  distributionName?: string;
  distributionVersion?: string;
  podId?: string;
}

/**
 * The annotations by which a runtime knows that an image is a checkpoint: containerd by
 * `org.criu.checkpoint.container.name`, CRI-O by its own (checkpointctl, lib/annotations.go; CRI-O,
 * pkg/annotations).
 */
export function checkpointAnnotations(
  archive: Pick<CheckpointArchive, "engine" | "identity" | "config" | "architecture">,
  host: CheckpointHost = {},
): Record<string, string> {
  const { engine, identity, config, architecture } = archive;
  const criu: Record<string, string | undefined> = {
    "engine.name": engine,
    "engine.version": host.engineVersion,
    "container.name": identity.containerName,
    "pod.name": identity.podName,
    "pod.namespace": identity.podNamespace,
    "pod.id": host.podId,
    "pod.uid": identity.podUid,
    rootfsImageUserRequested: config.rootfsImage,
    rootfsImageName: config.rootfsImageName,
    rootfsImageSha: /sha256:[0-9a-f]{64}$/.exec(config.rootfsImageRef)?.[0],
    "runtime.name": config.runtime,
    "runtime.version": host.runtimeVersion,
    "criu.version": host.criuVersion,
    "host.arch": architecture,
    "host.kernel": host.kernel,
    "cgroup.version": host.cgroupVersion,
    "distribution.name": host.distributionName,
    "distribution.version": host.distributionVersion,
  };
  const known = Object.entries(criu).flatMap(([key, value]) =>
    value ? [[`org.criu.checkpoint.${key}`, value] as const] : [],
  );
  return {
    ...Object.fromEntries(known),
    "io.kubernetes.cri-o.annotations.checkpoint.name": identity.containerName,
  };
}

/** The dumped process's user as an image's config names it: "uid:gid". */
export function userOf({ spec }: Pick<CheckpointArchive, "spec">): string {
  const { uid = 0, gid = 0 } = spec.process?.user ?? {};
  return `${uid}:${gid}`;
}
