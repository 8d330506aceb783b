import { checkpoints, requests, restores, schedules } from "../../api/kinds.ts";
import { containersOf } from "../../api/pod.ts";
import type { KubeObject, Resource } from "../../kube/resources.ts";
import { namespaces, pods } from "../../kube/resources.ts";
import { podOf, stateOf } from "../checkpoint/view.ts";
import { type ClusterFlags, type Connection, connect } from "../cluster.ts";
import { PODS, WORKLOADS, wordOf } from "../objects/kinds.ts";
import { podsOf } from "../objects/pods.ts";
import { parseTarget } from "../objects/target.ts";
import { age } from "../output/age.ts";
import type { Word } from "./plan.ts";
import type { Source } from "./sources.ts";

/** A completion that takes longer is worse than none. */
const PATIENCE_MS = 3_000;

/** Names of objects for one word of a command line. Errors: those of the API. */
export async function namesFor(
  sources: readonly Source[],
  flags: ClusterFlags,
  args: readonly string[],
  current: string,
): Promise<Word[]> {
  const connection = await connect(flags);
  const signal = AbortSignal.timeout(PATIENCE_MS);
  // With one kind a name stands alone; with several each says its kind, but for the first, which needs none.
  const several = sources.length > 1;
  const found = await Promise.all(
    sources.map((source, at) =>
      ofSource(source, { connection, signal, args, current, bare: !several || at === 0 }),
    ),
  );
  return found.flat();
}

interface Asked {
  connection: Connection;
  signal: AbortSignal;
  args: readonly string[];
  current: string;
  bare: boolean;
}

async function ofSource(source: Source, asked: Asked): Promise<Word[]> {
  const { client, namespace } = asked.connection;
  const { signal } = asked;
  const list = async <T extends KubeObject>(of: Resource<T>): Promise<T[]> =>
    (await client.listAll(of, { namespace, signal })).items;
  const called = (prefix: string, { metadata }: KubeObject): string =>
    asked.bare && !asked.current.startsWith(prefix) ? metadata.name : `${prefix}${metadata.name}`;
  switch (source) {
    case "checkpoint":
      return (await list(checkpoints)).map((one) => ({
        text: called("checkpoint/", one),
        description: `${stateOf(one)}, ${age(one.spec.checkpointTimestamp)} old, container ${one.spec.containerName} of ${podOf(one)}`,
      }));
    case "schedule":
      return (await list(schedules)).map((one) => ({
        text: called("schedule/", one),
        description: one.spec.schedule,
      }));
    case "request":
      return (await list(requests)).map((one) => ({
        text: called("request/", one),
        description: one.status?.phase,
      }));
    case "restore":
      return (await list(restores)).map((one) => ({
        text: called("restore/", one),
        description: one.status?.phase,
      }));
    case "pod":
      return (await list(pods)).map((one) => ({
        text: `pod/${one.metadata.name}`,
        description: one.status?.phase,
      }));
    case "workload": {
      const all = await Promise.all(
        WORKLOADS.map(async (kind) =>
          (await list(kind.resource)).map((one) => ({ text: `${wordOf(kind)}/${one.metadata.name}` })),
        ),
      );
      return all.flat();
    }
    case "container":
      return containersNamed(asked);
    case "namespace":
      return (await client.listAll(namespaces, { signal })).items.map(({ metadata }) => ({
        text: metadata.name,
      }));
    case "context":
      return contexts();
    case "file":
      return [];
    default:
      return source satisfies never;
  }
}

/** Containers of the pods that the command line names so far. */
async function containersNamed({ connection, args, signal }: Asked): Promise<Word[]> {
  const found = await Promise.all(
    args.map((word) => podsOf(connection, parseTarget(word, [PODS, ...WORKLOADS]), signal)),
  );
  const names = found.flat().flatMap((pod) => containersOf(pod).map(({ name }) => name));
  return [...new Set(names)].map((text) => ({ text }));
}

async function contexts(): Promise<Word[]> {
  const { KubeConfig } = await import("@kubernetes/client-node/dist/config.js");
  const config = new KubeConfig();
  config.loadFromDefault();
  return config.getContexts().map(({ name, cluster }) => ({ text: name, description: cluster }));
}
