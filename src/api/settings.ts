import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { KcrError } from "./errors.ts";
import { isHarmless, retentionRules } from "./retention.ts";

const address = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-zA-Z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:]+\](:[0-9]{1,5})?$/, "host[:port], without a scheme");

const registry = z.strictObject({
  /** Where pods (the agent, the operator) reach the registry. */
  push: address,
  /** Where the nodes' runtime reaches it; what a pod's image becomes. Default: the same. */
  pull: address.optional(),
  prefix: z
    .string()
    .max(100)
    .regex(/^[a-z0-9]+([._-][a-z0-9]+)*(\/[a-z0-9]+([._-][a-z0-9]+)*)*$/)
    .default("kcr"),
  /** Pull secrets of kcr's own namespace, where the nodes cannot pull without. */
  pullSecrets: z.array(z.string().min(1).max(253)).max(8).default([]),
  /** TLS unless this says otherwise. */
  plainHttp: z.boolean().default(false),
  /** PEM file with the CA of the registry. */
  caFile: z.string().optional(),
  /** File with a dockerconfigjson. */
  credentialsFile: z.string().optional(),
});
export type RegistrySettings = z.infer<typeof registry>;

const shape = z.strictObject({
  /**
   * Where Checkpoints are kept. `node`: on the node they were taken on, and nothing is pushed. `registry`: one is
   * good once its image is pushed, and nodes hold only what their own handler restores from. `both`: the same, and
   * it is good as soon as there is a copy in either place.
   */
  store: z.enum(["node", "registry", "both"]).default("both"),
  /** Needed unless Checkpoints are kept on nodes only. */
  registry: registry.optional(),
  local: z
    .strictObject({
      /** kcr's directory on each node: a disk, no tmpfs. */
      directory: z.string().regex(/^\//, "an absolute path").default("/var/lib/kcr"),
      /** Of each container so many of the newest Checkpoints have a copy on its node. */
      perContainer: z.int().min(1).max(64).default(3),
      /** Bytes of all copies of a node together; no limit unless said. */
      maxBytes: z.int().min(1).optional(),
      /**
       * Whether a copy holds of a process's memory what differs from the copy before, and shares the rest with it: less
       * on disk and between nodes, and a slower restore (docs/performance.md).
       */
      sharePages: z.boolean().default(false),
      /** How often all copies are read and compared with what they should be. */
      scrubHours: z.int().min(1).max(8760).default(24),
    })
    .prefault({}),
  kubelet: z
    .strictObject({
      port: z.int().min(1).max(65535).default(10250),
      /** PEM file with the CA of the kubelets' serving certificates; default: the cluster's CA. */
      caFile: z.string().optional(),
      /** Not to verify at all is possible and warned about: whoever can answer on the node's port is believed. */
      insecureSkipVerify: z.boolean().default(false),
      checkpointDirectory: z.string().default("/var/lib/kubelet/checkpoints"),
    })
    .prefault({}),
  /**
   * What dumps containers. `kubelet`: its checkpoint API. `runc`: the agent itself, beside the node's containerd, which
   * pauses the container for less than half as long; the agent must be privileged then (config/agent-runc).
   */
  engine: z.enum(["kubelet", "runc"]).default("kubelet"),
  runc: z
    .strictObject({
      /** A dump by engine runc that would keep the container from running for longer is given up. */
      maxPauseSeconds: z.int().min(1).max(3600).default(120),
    })
    .prefault({}),
  limits: z
    .strictObject({
      /** Dumps at once on one node. */
      perNode: z.int().min(1).max(64).default(2),
      /** Dumps at once in the cluster. */
      perCluster: z.int().min(1).max(10_000).default(50),
    })
    .prefault({}),
  /** Which Checkpoints stay, where no CheckpointRetention and no schedule says it. */
  retention: z
    .strictObject({
      /** For those of schedules; `{}` keeps all of them. */
      defaults: retentionRules
        .refine(isHarmless, "by this everything would go, or it cannot be read: sizes are 10Gi, ages 720h")
        .default({ keepLast: 3, keepHourly: 2, per: "Container" }),
      /** Checkpoints of the whole cluster that are removed in a minute. */
      perMinute: z.int().min(1).max(100_000).default(120),
    })
    .prefault({}),
  disk: z
    .strictObject({
      /** Where less than that would be left free, of bytes, no dump begins; 0: it is not looked at. */
      reserveBytes: z
        .int()
        .min(0)
        .default(1024 ** 3),
    })
    .prefault({}),
  /** Copies of checkpoints from node to node. */
  transfer: z
    .strictObject({
      /** Without it a checkpoint comes to another node through the registry only. */
      enabled: z.boolean().default(true),
      /** Copies that a node fetches at once, and files that it sends at once. */
      atOnce: z.int().min(1).max(64).default(2),
      /** How much a node sends, and how much it receives; no limit unless said. */
      maxBytesPerSecond: z
        .int()
        .min(64 * 1024)
        .optional(),
    })
    .prefault({}),
  /** Of each node's runtime handler, by its agent. */
  selftest: z
    .strictObject({
      /** Without it nobody labels nodes: which are ready for pods of class kcr is then for you to say. */
      enabled: z.boolean().default(true),
      /** How long one may last. */
      timeoutSeconds: z.int().min(10).max(3600).default(180),
    })
    .prefault({}),
  restore: z
    .strictObject({
      /** A restored container that ran this long is taken to run well: its crashes are forgotten. */
      stableSeconds: z.int().min(1).max(3600).default(30),
    })
    .prefault({}),
  installer: z
    .strictObject({
      /**
       * How a node's container runtime is restarted: through systemd; by SIGTERM, where something starts it again;
       * `auto`: through systemd where it is a unit of it, else not at all.
       */
      restart: z.enum(["auto", "systemd", "signal"]).default("auto"),
    })
    .prefault({}),
  runtime: z
    .strictObject({
      /** How long a pod that is to take over a state waits for its plan; the kubelet waits 120 s in all. */
      waitSeconds: z.int().min(1).max(110).default(60),
      /** A restore that would take longer is not begun. */
      restoreSeconds: z.int().min(1).max(110).default(100),
      /** How fast a node reads checkpoints, for that estimate. */
      readMBPerSecond: z.int().min(1).max(100_000).default(200),
      /** Writable emptyDir volumes with more in them are not captured. */
      volumesMaxBytes: z
        .int()
        .min(0)
        .default(1024 ** 3),
    })
    .prefault({}),
});

/** kcr's configuration: one YAML file (a ConfigMap) read by operator and agent alike. */
export const settings = shape.refine(({ store, registry }) => store === "node" || registry !== undefined, {
  path: ["registry"],
  message: "needed unless store is node",
});
export type Settings = z.infer<typeof settings>;

/** Errors: names the file and every field that is wrong. */
export function readSettings(path: string): Settings {
  const parsed = settings.safeParse(parse(readFileSync(path, "utf8")) ?? {});
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** Errors: KcrError NoRegistry where the settings name none. */
export function registryOf({ registry }: Settings): RegistrySettings {
  if (registry === undefined) {
    throw new KcrError("NoRegistry", "kcr's configuration names no registry of checkpoints");
  }
  return registry;
}

/** The registry's address for the nodes' runtime. */
export const pullAddress = ({ push, pull }: RegistrySettings): string => pull ?? push;

/** Whether Checkpoints become images in the registry. */
export const isPushed = ({ store }: Settings): boolean => store !== "node";
