import type { KubeObject, Pod } from "../../src/kube/resources.ts";
import type { World } from "./world.ts";

/** What there is of kcr in a cluster, sorted. */
export interface Remains {
  /**
   * `plural namespace/name` of every API object, of whatever kind, with kcr in its name, or in a label, annotation or
   * finalizer that is not of people's making; `: key` where only that has it. Less generated ends of names.
   */
  objects: string[];
  /** Files by node; of directories that are kcr's own the topmost. */
  files: Record<string, string[]>;
}

interface ResourceList {
  resources?: { name: string; namespaced: boolean; verbs: string[] }[];
}

/** Kinds that come and go by themselves. */
const PASSING = ["events", "componentstatuses", "bindings"];
/** What people have written: it is theirs. */
const PEOPLES = ["kcr.io/checkpoint-restore-schedule"];

/** Counts what is left of kcr; pods of a test's own count for what is on them, not for their names. */
export async function remains(world: World, own: readonly Pod[]): Promise<Remains> {
  const { client, cluster } = world;
  const groups = await client.request<{ groups: { preferredVersion: { groupVersion: string } }[] }>(
    "GET",
    "/apis",
  );
  const paths = [
    "/api/v1",
    ...groups.groups.map(({ preferredVersion }) => `/apis/${preferredVersion.groupVersion}`),
  ];
  const objects = new Set<string>();
  for (const path of paths) {
    const { resources = [] } = await client.request<ResourceList>("GET", path);
    for (const { name, verbs } of resources) {
      if (!verbs.includes("list") || name.includes("/") || PASSING.includes(name)) continue;
      const { items = [] } = await client.request<{ items?: KubeObject[] }>("GET", `${path}/${name}`);
      for (const object of items) for (const trace of tracesOf(name, object)) objects.add(trace);
    }
  }
  const files: Record<string, string[]> = {};
  for (const { name } of cluster.nodes) files[name] = await filesOn(world, name);
  for (const pod of own) {
    const text = JSON.stringify(
      (await world.pod(pod.metadata.name).catch(() => undefined))?.status?.conditions ?? [],
    );
    if (text.includes("kcr.io/")) objects.add(`pods ${pod.metadata.name}: ${text}`);
  }
  return { objects: [...objects].sort(), files };
}

function tracesOf(plural: string, { metadata }: KubeObject): string[] {
  const { name, namespace } = metadata;
  // Generated ends: of a ConfigMap by its content, of a pod by its owner.
  const stem = name.replace(/^(kcr-config)-[a-z0-9]{10}$/, "$1");
  const shown = `${plural} ${namespace === undefined ? "" : `${namespace}/`}${stem}`;
  if (namespace === "kcr-system" && !/kcr/.test(name) && /^(default|kube-root-ca)/.test(name)) return [];
  if (plural === "pods" || plural === "controllerrevisions") {
    if (/^kcr-installer-/.test(name)) return [];
  }
  if (/kcr/.test(name)) return [shown];
  const { labels = {}, annotations = {}, finalizers = [] } = metadata;
  const keys = [...Object.entries(labels).flat(), ...Object.keys(annotations), ...finalizers];
  return keys
    .filter((key) => /kcr\.io|^kcr$/.test(key) && !PEOPLES.includes(key))
    .map((key) => `${shown}: ${key}`);
}

async function filesOn(world: World, node: string): Promise<string[]> {
  const script = [
    "ls -d /opt/kcr-runtime /run/kcr-installer 2>/dev/null",
    // The directory itself is a disk of its own here.
    "find /var/lib/kcr -mindepth 1 -maxdepth 1 ! -empty -o -path /var/lib/kcr/disabled",
    "find /var/lib/kubelet/checkpoints -type f 2>/dev/null",
    "grep -rls kcr /etc/containerd /etc/crio 2>/dev/null",
    "true",
  ].join("; ");
  const said = await world.cluster.nodeExec(node, ["sh", "-c", script]);
  return [...new Set(said.split("\n").filter(Boolean))].sort();
}
