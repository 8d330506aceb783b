import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { runtimeID, statusOf } from "../../src/api/pod.ts";
import { events, type Pod } from "../../src/kube/resources.ts";
import { Installation } from "../support/installation.ts";
import { layoutOf } from "../support/transfer.ts";
import type { World } from "../support/world.ts";
import type { Journal } from "./journal.ts";
import type { Observer } from "./observer.ts";
import { firstProcess } from "./processes.ts";
import { CONTAINER, type Workload } from "./workloads.ts";

/** Something that does not hold, with all that may say why. */
export interface Failure {
  what: string;
  at: string;
  story?: object;
}

/** How far back faults and log lines may matter, in minutes. */
const MINUTES = 10;
const LOG_LINES = 60;

/** All that can be known of a workload now: what cannot be asked for is left out, and says why. */
export async function storyOf(
  world: World,
  workload: Workload,
  pod: Pod,
  observer: Observer,
  journal: Journal,
): Promise<object> {
  const now = Date.now();
  await observer.look().catch(() => {});
  const own = await world.pod(pod.metadata.name).catch(String);
  const layout = layoutOf(world, workload.node);
  const key = { podUID: pod.metadata.uid ?? "", container: CONTAINER };
  return {
    pod: typeof own === "string" ? own : { annotations: own.metadata.annotations, status: own.status },
    events: await eventsOf(world, [pod.metadata.name, workload.name]).catch(String),
    checkpoints: observer.of(pod).map(({ metadata, spec, status }) => ({
      name: metadata.name,
      uid: metadata.uid,
      taken: spec.checkpointTimestamp,
      status,
    })),
    requests: observer.requestsOf(pod).map(({ metadata, status }) => ({ name: metadata.name, status })),
    faults: journal.around(now - MINUTES * 60_000, now),
    plan: await readFile(layout.plan(key), "utf8").catch(String),
    process: await stateOf(world.cluster.name, own).catch(String),
    runs: await filesBelow(layout.run(key)).catch(String),
    logs: await logsAbout(world, pod.metadata.name),
  };
}

/** What its first process does, as /proc has it: stopped or frozen, it answers nobody. */
async function stateOf(cluster: string, pod: Pod | string): Promise<object | string> {
  if (typeof pod === "string") return "no pod";
  const pid = await firstProcess(cluster, runtimeID(statusOf(pod, CONTAINER)?.containerID) ?? "");
  if (pid === undefined) return "no process";
  const read = (file: string) => readFile(`/proc/${pid}/${file}`, "utf8").catch(String);
  const [status, wchan, stack, cgroup] = await Promise.all(["status", "wchan", "stack", "cgroup"].map(read));
  const group = /^\d+:freezer:(.*)$/m.exec(cgroup ?? "")?.[1];
  const freezer =
    group && (await readFile(`/sys/fs/cgroup/freezer${group}/freezer.state`, "utf8").catch(String));
  return { pid, status: status?.split("\n").slice(0, 12), wchan, stack, freezer };
}

async function eventsOf(world: World, names: readonly string[]): Promise<string[]> {
  const { items } = await world.client.listAll(events, { namespace: world.namespace });
  return items
    .filter(({ regarding }) => names.includes(regarding?.name ?? ""))
    .map((event) => {
      const { series, eventTime, deprecatedLastTimestamp, metadata } = event;
      const at =
        series?.lastObservedTime ?? eventTime ?? deprecatedLastTimestamp ?? metadata.creationTimestamp;
      return `${at} ${event.regarding?.kind} ${event.reason}: ${event.note}`;
    })
    .sort();
}

/** Content of all files of a directory of the handler's, by their paths: small ones. */
async function filesBelow(directory: string): Promise<Record<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const read = files.map(async (path) => [path, await readFile(path, "utf8").catch(String)] as const);
  return Object.fromEntries(await Promise.all(read));
}

/** What operators and agents have logged about an object, the runs before their last end too. */
async function logsAbout(world: World, name: string): Promise<Record<string, string[]>> {
  const kcr = new Installation(world);
  const operators = await kcr.operators().catch(() => []);
  const agents = await Promise.all(
    world.cluster.nodes.map((node) => kcr.agent(node.name).catch(() => undefined)),
  );
  const logs: Record<string, string[]> = {};
  for (const pod of [...operators, ...agents.filter((agent) => agent !== undefined)]) {
    for (const more of [[], ["--previous"]]) {
      const log = ["-n", kcr.namespace, "logs", pod.metadata.name, `--since=${MINUTES}m`, ...more];
      const said = await world.cluster.kubectl(log).catch(() => "");
      const lines = said.split("\n").filter((line) => line.includes(name));
      if (lines.length > 0) logs[[pod.metadata.name, ...more].join(" ")] = lines.slice(-LOG_LINES);
    }
  }
  return logs;
}
