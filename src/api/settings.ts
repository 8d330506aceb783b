import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";

const address = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[a-zA-Z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9a-fA-F:]+\](:[0-9]{1,5})?$/, "host[:port], without a scheme");

/** kcr's configuration: one YAML file (a ConfigMap) read by operator and agent alike. */
export const settings = z.strictObject({
  registry: z.strictObject({
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
  }),
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
  limits: z
    .strictObject({
      /** Dumps at once on one node. */
      perNode: z.int().min(1).max(64).default(2),
      /** Dumps at once in the cluster. */
      perCluster: z.int().min(1).max(10_000).default(50),
    })
    .prefault({}),
  restore: z
    .strictObject({
      /** A restored container that ran this long is taken to run well: its crashes are forgotten. */
      stableSeconds: z.int().min(1).max(3600).default(30),
    })
    .prefault({}),
});
export type Settings = z.infer<typeof settings>;

/** Errors: names the file and every field that is wrong. */
export function readSettings(path: string): Settings {
  const parsed = settings.safeParse(parse(readFileSync(path, "utf8")) ?? {});
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export const pullAddress = (s: Settings): string => s.registry.pull ?? s.registry.push;
