import { createHash } from "node:crypto";
import type { PodContainer } from "./pod.ts";

/** Environment taken from the pod's own fields differs from pod to pod and is left out of the hash. */
const isPerPod = (env: { valueFrom?: { fieldRef?: unknown } }): boolean =>
  env.valueFrom?.fieldRef !== undefined;

/** JSON with sorted keys: the same value always gives the same text. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((v) => canonical(v ?? null)).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

/**
 * Hash of everything the process was given by its pod: image, command, arguments, environment less per-pod
 * values, mounts, devices, security context. The service account's token mount has a random name and is left
 * out. `image` is the original one, whatever checkpoint image stands in the spec.
 */
export function specHash(container: PodContainer, image: string): string {
  const given = {
    image,
    command: container.command ?? [],
    args: container.args ?? [],
    workingDir: container.workingDir ?? "",
    env: (container.env ?? []).filter((e) => !isPerPod(e)),
    envFrom: container.envFrom ?? [],
    mounts: (container.volumeMounts ?? []).filter(
      (m) => m.mountPath !== "/var/run/secrets/kubernetes.io/serviceaccount",
    ),
    devices: container.volumeDevices ?? [],
    securityContext: container.securityContext ?? {},
    tty: container.tty ?? false,
    stdin: container.stdin ?? false,
  };
  return `sha256:${createHash("sha256").update(canonical(given)).digest("hex")}`;
}
