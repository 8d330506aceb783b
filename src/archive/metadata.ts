import { z } from "zod";
import { ArchiveError } from "./errors.ts";
import type { Tar } from "./tar.ts";

/** Who made an archive. Archives do not cross engines. */
export type Engine = "containerd" | "cri-o" | "podman";

/** Whose checkpoint it is, by spec.dump's annotations. Strings of strangers: not to be trusted, nor used as paths. */
export interface Identity {
  containerId: string;
  containerName: string;
  /** Absent for a container outside a pod (Podman). */
  podName?: string;
  podNamespace?: string;
  podUid?: string;
}

const time = z.string().max(64).optional();
const label = z.string().max(1024);

/** config.dump: what the engines wrote about container and image (checkpointctl, lib/metadata.go). */
const configDump = z.object({
  id: label,
  name: label.default(""),
  /** The image as it was asked for. */
  rootfsImage: label.default(""),
  /** NAME@DIGEST of the image, which a restore pulls. */
  rootfsImageRef: label.default(""),
  rootfsImageName: label.default(""),
  runtime: label.default(""),
  createdTime: time,
  checkpointedTime: time,
  restoredTime: time,
  restored: z.boolean().default(false),
});
export type ConfigDump = z.infer<typeof configDump>;

/** spec.dump: the OCI runtime configuration, as far as it is used here; the rest is kept as it is. */
const specDump = z.looseObject({
  process: z
    .looseObject({
      user: z
        .looseObject({
          uid: z.int().nonnegative().default(0),
          gid: z.int().nonnegative().default(0),
          additionalGids: z.array(z.int().nonnegative()).nullish(),
        })
        .default({ uid: 0, gid: 0 }),
      args: z.array(z.string()).nullish(),
      env: z.array(z.string()).nullish(),
      cwd: z.string().nullish(),
    })
    .optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
  mounts: z
    .array(
      z.looseObject({
        destination: z.string(),
        source: z.string().nullish(),
        type: z.string().nullish(),
        options: z.array(z.string()).nullish(),
      }),
    )
    .nullish(),
});
export type SpecDump = z.infer<typeof specDump>;

/** status.dump: containerd's CRI ContainerStatus, as far as it is used here. */
const statusDump = z.object({
  metadata: z.object({ name: label.optional() }).optional(),
  labels: z.record(z.string(), z.string()).nullish(),
  annotations: z.record(z.string(), z.string()).nullish(),
});
export type StatusDump = z.infer<typeof statusDump>;

const criOLabels = z.object({
  "io.kubernetes.container.name": label,
  "io.kubernetes.pod.name": label,
  "io.kubernetes.pod.namespace": label,
  "io.kubernetes.pod.uid": label.optional(),
});

const METADATA_BYTES = 8 * 1024 * 1024;

export async function readConfigDump(tar: Tar): Promise<ConfigDump> {
  return await readJson(tar, "config.dump", configDump);
}

export async function readSpecDump(tar: Tar): Promise<SpecDump> {
  return await readJson(tar, "spec.dump", specDump);
}

/** The same, of an entry's text that is at hand; `name` is the archive's. Errors: `malformed`. */
export const parseConfigDump = (name: string, text: string): ConfigDump =>
  parseJson(`${name}: config.dump`, text, configDump);

export const parseSpecDump = (name: string, text: string): SpecDump =>
  parseJson(`${name}: spec.dump`, text, specDump);

export const parseStatusDump = (name: string, text: string): StatusDump =>
  parseJson(`${name}: status.dump`, text, statusDump);

/** Where the container had something of outside mounted: a restore needs the same mount points. */
export const bindMountsOf = ({ mounts }: SpecDump): string[] =>
  (mounts ?? [])
    .filter(({ type, options }) => type === "bind" || options?.some((o) => o === "bind" || o === "rbind"))
    .map(({ destination }) => destination);

/** Undefined when there is none: only containerd writes it. */
export async function readStatusDump(tar: Tar): Promise<StatusDump | undefined> {
  return tar.open("status.dump") && (await readJson(tar, "status.dump", statusDump));
}

/**
 * The image that the dumped container had itself been restored from, as containerd notes it on every container
 * that it restores (internal/cri/server/container_checkpoint_linux.go). Undefined for one that was started.
 */
export function restoredFromOf(status: StatusDump | undefined): string | undefined {
  const { restored, checkpointImage } = status?.annotations ?? {};
  return restored === "true" ? checkpointImage : undefined;
}

async function readJson<T extends z.ZodType>(tar: Tar, name: string, schema: T): Promise<z.infer<T>> {
  const bytes = await tar.read(name, METADATA_BYTES);
  return parseJson(`${tar.bytes.name}: ${name}`, bytes.toString("utf8"), schema);
}

function parseJson<T extends z.ZodType>(name: string, text: string, schema: T): z.infer<T> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : "not JSON";
    throw new ArchiveError("malformed", `${name}: ${why}`, { cause });
  }
}

/** Errors: `unsupported` when none of the known engines made it. */
export function engineOf(name: string, spec: SpecDump): Engine {
  const annotations = spec.annotations ?? {};
  const manager = annotations["io.container.manager"];
  if (manager === "cri-o") return "cri-o";
  if (manager === "libpod") return "podman";
  if (annotations["io.kubernetes.cri.container-type"] !== undefined) return "containerd";
  throw new ArchiveError("unsupported", `${name}: made by none of containerd, CRI-O and Podman`);
}

/** Errors: `malformed` when the engine's annotations are not all there. */
export function identityOf(
  name: string,
  engine: Engine,
  config: ConfigDump,
  spec: SpecDump,
  status?: StatusDump,
): Identity {
  const annotations = spec.annotations ?? {};
  const need = (key: string): string => {
    const value = annotations[key];
    if (!value || value.length > 1024)
      throw new ArchiveError("malformed", `${name}: spec.dump has no annotation ${key}`);
    return value;
  };
  switch (engine) {
    case "containerd":
      return {
        containerId: config.id,
        // The annotation of a container that was itself restored does not hold its name; the label does.
        containerName:
          status?.labels?.["io.kubernetes.container.name"] ?? need("io.kubernetes.cri.container-name"),
        podName: need("io.kubernetes.cri.sandbox-name"),
        podNamespace: need("io.kubernetes.cri.sandbox-namespace"),
        podUid: annotations["io.kubernetes.cri.sandbox-uid"],
      };
    case "cri-o": {
      const key = "io.kubernetes.cri-o.Labels";
      const labels = annotations[key];
      if (labels === undefined)
        throw new ArchiveError("malformed", `${name}: spec.dump has no annotation ${key}`);
      const parsed = parseJson(`${name}: ${key}`, labels, criOLabels);
      return {
        containerId: config.id,
        containerName: parsed["io.kubernetes.container.name"],
        podName: parsed["io.kubernetes.pod.name"],
        podNamespace: parsed["io.kubernetes.pod.namespace"],
        podUid: parsed["io.kubernetes.pod.uid"],
      };
    }
    case "podman":
      return { containerId: config.id, containerName: config.name };
  }
}
