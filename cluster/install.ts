import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { stringify } from "yaml";
import { bundle } from "../scripts/build.ts";
import { RUNTIME_LABEL, RUNTIME_READY } from "../src/api/labels.ts";
import type { Settings } from "../src/api/settings.ts";
import type { Cluster } from "./cluster.ts";
import { buildKcrImage } from "./images.ts";
import { type Progress, silent } from "./progress.ts";

export interface InstallOptions {
  progress?: Progress;
  signal?: AbortSignal;
  /** Laid over the settings of the local cluster, part by part. */
  settings?: Partial<Record<keyof Settings, object | string>>;
  /**
   * Whether the nodes get the runtime handler: `offered` waits until they offer it, `ready` (unless said) until
   * each has also tried it on itself, and takes pods of its class.
   */
  handler?: "none" | "offered" | "ready";
  /** What dumps containers: `runc` has the agent installed that may. */
  engine?: Settings["engine"];
}

const root = join(import.meta.dirname, "..");

/** The settings by which kcr uses the registry of a local cluster. */
export function localSettings(cluster: Cluster, more: InstallOptions["settings"] = {}) {
  return {
    ...more,
    registry: {
      push: cluster.registry.push,
      pull: cluster.registry.pull,
      plainHttp: true,
      prefix: "checkpoints",
      ...(more.registry as object | undefined),
    },
    // A node's PID 1 starts its containerd again.
    installer: { restart: "signal", ...(more.installer as object | undefined) },
  };
}

/**
 * Installs kcr in a local cluster as it is checked out here: bundles it, makes its image, pushes that, and
 * applies config/ with a small overlay that names image and registry. Doing it again brings the cluster up to
 * date.
 */
export async function installKcr(cluster: Cluster, options: InstallOptions = {}): Promise<void> {
  const { progress = silent, signal, handler = "ready", engine = "kubelet" } = options;
  const settings = { ...options.settings, engine };
  const work = await mkdtemp(join(tmpdir(), "kcr-install-"));
  try {
    await progress.task("building kcr", () => bundle(join(work, "dist"), signal));
    const image = await buildKcrImage(join(work, "dist"), cluster.registry.push, { progress, signal });
    const [newName, digest] = image.pinned.split("@");
    const used = localSettings(cluster, settings);
    const { pull, prefix } = used.registry;
    const overlay = {
      apiVersion: "kustomize.config.k8s.io/v1beta1",
      kind: "Kustomization",
      resources: [relative(work, join(root, "config"))],
      components: engine === "runc" ? [relative(work, join(root, "config/agent-runc"))] : [],
      images: [{ name: "kcr", newName, digest }],
      patches: handler !== "none" ? [] : [{ patch: stringify(withoutInstaller) }],
      configMapGenerator: [
        ...["kcr-system", "kcr-download"].map((namespace) => ({
          name: "kcr-config",
          namespace,
          behavior: "replace",
          files: ["config.yaml"],
        })),
        {
          name: "kcr-policy",
          namespace: "kcr-system",
          behavior: "replace",
          literals: [`repository=${pull}/${prefix}/`],
        },
      ],
    };
    await writeFile(join(work, "kustomization.yaml"), stringify(overlay));
    await writeFile(join(work, "config.yaml"), stringify(used));
    await progress.task("installing kcr", async () => {
      await cluster.kubectl(["apply", "-k", work, "--server-side", "--force-conflicts"], { signal });
    });
    await progress.task("waiting for operator, agents and handlers", async () => {
      const wait = ["-n", "kcr-system", "rollout", "status", "--timeout=120s"];
      await cluster.kubectl([...wait, "deployment/kcr-operator"], { signal });
      await cluster.kubectl([...wait, "daemonset/kcr-agent"], { signal });
      const download = [
        "-n",
        "kcr-download",
        "rollout",
        "status",
        "--timeout=120s",
        "deployment/kcr-download",
      ];
      await cluster.kubectl(download, { signal });
      if (handler !== "none") await cluster.kubectl([...wait, "daemonset/kcr-installer"], { signal });
      if (handler === "ready") {
        const label = `jsonpath={.metadata.labels.${RUNTIME_LABEL.replaceAll(".", "\\.")}}=${RUNTIME_READY}`;
        const all = cluster.nodes.map(({ name }) => `node/${name}`);
        await cluster.kubectl(["wait", ...all, `--for=${label}`, "--timeout=240s"], { signal });
      }
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const withoutInstaller = {
  apiVersion: "apps/v1",
  kind: "DaemonSet",
  metadata: { name: "kcr-installer", namespace: "kcr-system" },
  $patch: "delete",
};
