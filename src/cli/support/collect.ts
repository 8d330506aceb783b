import { GROUP } from "../../api/group.ts";
import { isNotFound } from "../../kube/errors.ts";
import {
  certificateSigningRequests,
  configMaps,
  customResourceDefinitions,
  events,
  type KubeObject,
  leases,
  type Node,
  nodes,
  type Pod,
  pods,
  type Resource,
  resource,
  secrets,
} from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { KCR_NAMESPACE } from "../install/installed.ts";
import { MANIFEST_KINDS } from "../install/kinds.ts";
import { VERSION } from "../version.ts";
import { redact, redactText } from "./redact.ts";

/** A file of the bundle. */
export interface Item {
  path: string;
  text: string;
}

export interface CollectOptions {
  /** Of each container's log, the last so many bytes. */
  logBytes: number;
  doing(text: string): void;
}

const LABEL = "app.kubernetes.io/part-of=kcr";
/** Generated from settings.yaml and kustomization.yaml: names and addresses, no credentials. */
const SETTINGS = /^kcr-(config|policy)/;

/**
 * What a maintainer needs to know of an installation, file by file: versions, nodes, kcr's objects with their
 * conditions, Events, settings, logs, the protected pods' shape. No Secret is read but by name, nothing of a
 * checkpoint's contents is, and what may be secret of all else is left out.
 *
 * What could not be read is the last file's content; only a signal ends it early.
 */
export async function* collect(
  { client }: Connection,
  { logBytes, doing }: CollectOptions,
  signal: AbortSignal,
): AsyncGenerator<Item, void, undefined> {
  const failures: string[] = [];
  const attempt = async <T>(what: string, ask: () => Promise<T>): Promise<T | undefined> => {
    doing(what);
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      if (!isNotFound(error)) failures.push(`${what}: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  };
  const list = async <T extends KubeObject>(
    kind: Resource<T>,
    options: { namespace?: string; labelSelector?: string } = {},
  ) =>
    (await attempt(kind.plural, async () => (await client.listAll(kind, { ...options, signal })).items)) ??
    [];

  const server = await attempt("the server's version", () => client.request("GET", "/version", { signal }));
  yield json("versions.json", { client: VERSION, node: process.version, platform: process.platform, server });

  const allNodes = await list(nodes);
  yield json("nodes.json", allNodes.map(nodeFacts));

  const crds = (await list(customResourceDefinitions)).filter(({ spec }) => spec?.group === GROUP);
  yield json(
    "kinds.json",
    crds.map(({ metadata, spec, status }) => ({
      name: metadata.name,
      versions: spec?.versions.map(({ name, served, storage }) => ({ name, served, storage })),
      status,
    })),
  );
  for (const { spec } of crds) {
    const kind = resource({
      group: GROUP,
      version: spec?.versions.find(({ storage }) => storage)?.name ?? "v1",
      plural: spec?.names.plural ?? "",
      kind: spec?.names.kind ?? "",
    });
    yield json(`objects/${kind.plural}.json`, (await list(kind)).map(redact));
  }

  const clusterScoped = MANIFEST_KINDS.filter(
    ({ namespaced, kind }) => !namespaced && kind !== "CustomResourceDefinition",
  );
  for (const kind of clusterScoped) {
    yield json(`cluster/${kind.plural}.json`, (await list(kind, { labelSelector: LABEL })).map(redact));
  }
  const requested = (await list(certificateSigningRequests)).filter(({ spec }) =>
    spec?.signerName.startsWith("kcr.io/"),
  );
  yield json(
    "cluster/certificatesigningrequests.json",
    requested.map(({ metadata: { name, creationTimestamp }, spec, status }) => ({
      name,
      creationTimestamp,
      username: spec?.username,
      conditions: status?.conditions,
    })),
  );

  const namespaces = (await list(MANIFEST_KINDS[0]!, { labelSelector: LABEL })).map(
    ({ metadata }) => metadata.name,
  );
  if (!namespaces.includes(KCR_NAMESPACE)) failures.push(`there is no namespace ${KCR_NAMESPACE}`);
  const own: Pod[] = [];
  for (const namespace of namespaces) {
    const kinds = MANIFEST_KINDS.filter(({ namespaced, kind }) => namespaced && kind !== configMaps.kind);
    for (const kind of [...kinds, leases] as Resource[]) {
      const objects = await list(kind, { namespace });
      if (objects.length > 0) yield json(`${namespace}/${kind.plural}.json`, objects.map(redact));
    }
    const found = await list(pods, { namespace });
    own.push(...found);
    yield json(`${namespace}/pods.json`, found.map(redact));
    for (const map of await list(configMaps, { namespace })) {
      const text = SETTINGS.test(map.metadata.name) ? map.data : redact(map).data;
      yield json(
        `${namespace}/configmaps/${map.metadata.name}.json`,
        JSON.parse(redactText(JSON.stringify(text ?? {}))),
      );
    }
    // Which there are, and what keys they have, says whether a setting can hold. Values go no further than here.
    yield json(
      `${namespace}/secrets.json`,
      (await list(secrets, { namespace })).map(({ metadata: { name }, type, data }) => ({
        name,
        type,
        keys: Object.keys(data ?? {}),
      })),
    );
  }

  const said = (await list(events)).filter(
    ({ metadata, reportingController = "", regarding }) =>
      reportingController.startsWith("kcr-") ||
      namespaces.includes(metadata.namespace ?? "") ||
      regarding?.apiVersion?.startsWith(`${GROUP}/`),
  );
  yield json(
    "events.json",
    said.map(
      ({
        metadata: { namespace },
        regarding,
        type,
        reason,
        note,
        eventTime,
        series,
        reportingController,
      }) => ({
        namespace,
        on: `${regarding?.kind}/${regarding?.name}`,
        type,
        reason,
        note: note === undefined ? undefined : redactText(note),
        time: series?.lastObservedTime ?? eventTime,
        count: series?.count,
        by: reportingController,
      }),
    ),
  );

  const users = (await list(pods)).filter(isProtected);
  yield json("protected-pods.json", users.map(redact));

  for (const { metadata, spec, status } of own) {
    const { namespace = "", name } = metadata;
    for (const container of [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])]) {
      const statuses = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])];
      const restarts = statuses.find((one) => one.name === container.name)?.restartCount ?? 0;
      for (const previous of restarts > 0 ? [false, true] : [false]) {
        const path = `${namespace}/logs/${name}/${container.name}${previous ? ".previous" : ""}.log`;
        const query = { container: container.name, previous, timestamps: true, tailLines: logBytes >> 7 };
        const log = await attempt(path, () => logOf(namespace, name, query));
        if (log !== undefined) yield { path, text: redactText(log) };
      }
    }
  }
  yield { path: "not-read.txt", text: failures.map((line) => `${line}\n`).join("") };

  async function logOf(namespace: string, name: string, query: Record<string, string | number | boolean>) {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log`;
    using stream = await client.stream(path, { query, signal });
    let kept: Buffer[] = [];
    let length = 0;
    for await (const chunk of stream.chunks) {
      kept.push(chunk);
      length += chunk.length;
      // The last part counts.
      while (kept.length > 1 && length - kept[0]!.length >= logBytes) length -= kept.shift()!.length;
    }
    const text = Buffer.concat(kept).subarray(-logBytes).toString();
    kept = [];
    return text;
  }
}

const json = (path: string, value: unknown): Item => ({
  path,
  text: `${JSON.stringify(value, undefined, 1)}\n`,
});

/** What of a node matters: what it runs, how it is, and what kcr wrote on it. */
function nodeFacts({ metadata, spec, status }: Node): object {
  const own = (all: Record<string, string> = {}) =>
    Object.fromEntries(
      Object.entries(all).filter(([key]) => /kcr\.io\/|^kubernetes\.io\/(os|arch)$/.test(key)),
    );
  return {
    name: metadata.name,
    labels: own(metadata.labels),
    annotations: own(metadata.annotations),
    unschedulable: spec?.unschedulable,
    taints: spec?.taints,
    nodeInfo: status?.nodeInfo,
    capacity: status?.capacity,
    allocatable: status?.allocatable,
    conditions: status?.conditions,
    runtimeHandlers: status?.runtimeHandlers,
    features: status?.features,
  };
}

/** Pods that kcr has something to do with, outside its own namespaces. */
const isProtected = ({ spec, status, metadata }: Pod): boolean =>
  spec?.runtimeClassName === "kcr" ||
  Object.keys(metadata.annotations ?? {}).some((key) => key.startsWith("kcr.io/")) ||
  (status?.conditions?.some(({ type }) => type.startsWith("kcr.io/")) ?? false);
