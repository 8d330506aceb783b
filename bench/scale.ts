import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { bundle } from "../scripts/build.ts";
import { schedules } from "../src/api/kinds.ts";
import { Client } from "../src/kube/client.ts";
import { type KubeObject, namespaces } from "../src/kube/resources.ts";
import { delay } from "../src/kube/signals.ts";
import { startApiServer } from "../test/support/apiserver.ts";
import { installCrds } from "../test/support/crds.ts";
import { freePort } from "../test/support/free-ports.ts";
import { waitFor } from "../test/support/wait-for.ts";
import { chart } from "./lib/chart.ts";
import { atMost, type BenchArgs, type Figure, type Report, seconds, thisMachine } from "./lib/report.ts";
import { SimulatedAgents } from "./lib/scale/agents.ts";
import { OperatorProcess, total } from "./lib/scale/operator.ts";
import { makeWorld, reschedule } from "./lib/scale/world.ts";

/** What one size came to. Times in milliseconds. */
interface Measured {
  size: number;
  /** From the operator's start until every workload has its schedule. */
  protectMs: number;
  /** From a new leader's start until it has looked at every schedule. */
  restartMs: number;
  /** That look alone, without what the API server took: all decisions of the schedule controller. */
  roundMs: number;
  restBytes: number;
  loadBytes: number;
  /** Requests to the API server a minute with nothing due. */
  restPerMinute: number;
  loadPerMinute: number;
  /** From the moment a schedule is to act on its slot until its request, with schedules over ten minutes. */
  lagMs: { p50: number; p99: number };
  asked: number;
  expected: number;
  doubled: number;
  /** From due time to the end of the last request, with all schedules due at once. */
  herdMs: number;
  herdMost: number;
  herdMostOnNode: number;
  herdDoubled: number;
}

const NEVER = "0 0 1 1 *";
const SPREAD_MINUTES = 10;
const LOAD_MINUTES = 3;
const REST_MS = 60_000;
/** How long a simulated agent takes for a checkpoint. */
const DUMP_MS = 300;

/**
 * The operator with 100, 1,000 and 10,000 annotated Deployments, on a real API server and etcd. Nodes and pods are
 * objects only, and agents are simulated: they answer requests, and dump nothing. $SIZES chooses other sizes,
 * $CHART a file for the picture.
 */
export async function run({ signal, note }: BenchArgs): Promise<Report> {
  const sizes = (process.env["SIZES"] ?? "100,1000,10000").split(",").map(Number);
  const measured: Measured[] = [];
  for (const size of sizes) {
    note(`${size} Deployments`);
    measured.push(await measure(size, signal, note));
    note(JSON.stringify(measured.at(-1)));
  }
  const picture = process.env["CHART"];
  if (picture !== undefined) await writeFile(picture, draw(measured));
  const largest = measured.at(-1)!;
  const name = (what: string) => `${what}, ${largest.size} Deployments`;
  return {
    bench: "scale",
    machine: thisMachine(),
    runs: 1,
    figures: Object.assign({}, ...measured.map(figuresOf)) as Record<string, Figure>,
    ratios: [
      atMost(
        name("operator's resident memory (MB)"),
        Math.max(largest.restBytes, largest.loadBytes) / 1e6,
        400,
      ),
      atMost(name("a full round of schedule decisions (s)"), largest.roundMs / 1000, 1),
      atMost(name("requests missed"), largest.expected - largest.asked, 0),
      atMost(name("requests doubled"), largest.doubled + largest.herdDoubled, 0),
      // The same with a hundredth of the objects is what "does not grow with them" is compared with.
      atMost(name("API requests a minute at rest"), largest.restPerMinute, measured[0]!.restPerMinute + 20),
    ],
  };
}

async function measure(size: number, signal: AbortSignal, note: BenchArgs["note"]): Promise<Measured> {
  const directory = await mkdtemp(join(tmpdir(), "kcr-scale-"));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  await bundle(directory);
  const settings = { store: "node", transfer: { enabled: false }, limits: { perCluster: 50, perNode: 2 } };
  await writeFile(join(directory, "config.yaml"), stringify(settings));
  await mkdir(join(directory, "state"), { recursive: true });
  const api = await startApiServer();
  cleanup.defer(() => api.stop());
  const client = Client.fromConfig({ kubeconfig: api.kubeconfig });
  cleanup.defer(() => client.close());
  await installCrds(client);
  for (const name of ["kcr-system", "kcr-nodes"]) {
    await client.create(namespaces, { metadata: { name } } as KubeObject);
  }
  await makeWorld(client, size, NEVER, signal);

  const start = async () => {
    const operator = await OperatorProcess.start(directory, api.kubeconfig, await freePort());
    cleanup.defer(() => operator.stop());
    return operator;
  };
  const looked = (samples: Awaited<ReturnType<OperatorProcess["samples"]>>) =>
    total(samples, "controller_runtime_reconcile_total", 'controller="schedule"') >= size &&
    total(samples, "workqueue_depth") === 0;

  note("  first start");
  const first = await start();
  let began = performance.now();
  await waitFor(
    "every workload to have a schedule that was looked at",
    async () => {
      const { items } = await client.listAll(schedules, { signal });
      return items.length === size && items.every(({ status }) => status?.nextRunTime !== undefined);
    },
    { timeoutMs: 20 * 60_000, intervalMs: 1000, signal },
  );
  const protectMs = performance.now() - began;
  await first.until("the queues to be empty", looked, signal);
  await first.stop();

  note("  a new leader");
  began = performance.now();
  const operator = await start();
  const synced = await operator.until("it to have looked at every schedule", looked, signal);
  const restartMs = performance.now() - began;
  const roundMs =
    total(synced, "controller_runtime_reconcile_time_seconds_sum", 'controller="schedule"') * 1000;

  note("  at rest");
  // What follows from the start, Events and conditions, is not rest.
  await delay(15_000, signal);
  const perMinute = async (during: () => Promise<unknown>) => {
    const [before, since] = [
      total(await operator.samples(), "rest_client_requests_total"),
      performance.now(),
    ];
    await during();
    const after = total(await operator.samples(), "rest_client_requests_total");
    return ((after - before) * 60_000) / (performance.now() - since);
  };
  const restPerMinute = await perMinute(() => delay(REST_MS, signal));
  const restBytes = await operator.residentBytes();

  note("  schedules spread");
  const agents = new SimulatedAgents(client, { dumpMs: DUMP_MS, intervalMs: SPREAD_MINUTES * 60_000 });
  const answering = new AbortController();
  const answered = agents.run(AbortSignal.any([answering.signal, signal]));
  cleanup.defer(async () => {
    answering.abort();
    await answered;
  });
  const spread = (number: number) => `${number % SPREAD_MINUTES}-59/${SPREAD_MINUTES} * * * *`;
  await reschedule(client, size, spread, signal);
  await untilMinute(signal);
  agents.reset();
  const from = new Date();
  const loadPerMinute = await perMinute(() => delay(LOAD_MINUTES * 60_000 - 1000, signal));
  const loadBytes = await operator.residentBytes();
  const due = Array.from(
    { length: LOAD_MINUTES },
    (_, minute) => (from.getUTCMinutes() + 1 + minute) % SPREAD_MINUTES,
  );
  const expected = Array.from({ length: size }, (_, number) => number % SPREAD_MINUTES).filter((minute) =>
    due.includes(minute),
  ).length;
  const last = Math.ceil(from.getTime() / 60_000) * 60_000 + (LOAD_MINUTES - 1) * 60_000;
  const inTime = () => agents.seen.filter(({ slot }) => slot > from.getTime() && slot <= last);
  // The last minute's are spread over a minute; what has not come long after that was missed.
  await waitFor("the last of them", () => inTime().length >= expected, { timeoutMs: 90_000, signal }).catch(
    () => undefined,
  );
  const lags = inTime().map(({ lagMs }) => lagMs);
  const { doubled } = agents;

  note("  all at once");
  await reschedule(client, size, () => NEVER, signal);
  const herd = new Date(Math.ceil((Date.now() + 90_000) / 60_000) * 60_000);
  await reschedule(client, size, () => `${herd.getUTCMinutes()} ${herd.getUTCHours()} * * *`, signal);
  const idle = () =>
    operator.until("the queues to be empty", (s) => total(s, "workqueue_depth") === 0, signal);
  await idle();
  agents.reset();
  await waitFor("all to be captured", () => agents.ended >= size, {
    timeoutMs: 30 * 60_000,
    intervalMs: 100,
    signal,
  });
  const herdMs = Date.now() - herd.getTime();
  return {
    size,
    protectMs,
    restartMs,
    roundMs,
    restBytes,
    loadBytes,
    restPerMinute,
    loadPerMinute,
    lagMs: { p50: quantile(lags, 0.5), p99: quantile(lags, 0.99) },
    asked: lags.length,
    expected,
    doubled,
    herdMs,
    herdMost: agents.mostAtOnce,
    herdMostOnNode: agents.mostOnOneNode,
    herdDoubled: agents.doubled,
  };
}

function figuresOf(m: Measured): Record<string, Figure> {
  const figures: Record<string, Figure> = {
    "every workload has its schedule, after": seconds(m.protectMs),
    "a new leader has looked at all, after": seconds(m.restartMs),
    "a full round of decisions": seconds(m.roundMs),
    "resident memory at rest": { value: Math.round(m.restBytes / 1e6), unit: "MB" },
    "resident memory under load": { value: Math.round(m.loadBytes / 1e6), unit: "MB" },
    "API requests a minute at rest": { value: Math.round(m.restPerMinute), unit: "" },
    "API requests a minute under load": { value: Math.round(m.loadPerMinute), unit: "" },
    "from a schedule's moment to its request, p50": seconds(m.lagMs.p50),
    "from a schedule's moment to its request, p99": seconds(m.lagMs.p99),
    "all due at once: the last has ended, after": seconds(m.herdMs),
    "all due at once: most at a time in the cluster": { value: m.herdMost, unit: "" },
    "all due at once: most at a time on a node": { value: m.herdMostOnNode, unit: "" },
  };
  return Object.fromEntries(Object.entries(figures).map(([name, figure]) => [`${m.size}: ${name}`, figure]));
}

function draw(measured: readonly Measured[]): string {
  const line = (name: string, of: (m: Measured) => number) => ({
    name,
    points: measured.map((m): [number, number] => [m.size, of(m)]),
  });
  return chart({
    title: "The operator by the number of annotated Deployments",
    x: "Deployments",
    lines: [
      line("memory at rest (MB)", (m) => m.restBytes / 1e6),
      line("full round of decisions (ms)", (m) => m.roundMs),
      line("new leader in step (ms)", (m) => m.restartMs),
      line("API requests a minute at rest", (m) => m.restPerMinute),
      line("API requests a minute under load", (m) => m.loadPerMinute),
      line("schedule's moment to its request, p99 (ms)", (m) => m.lagMs.p99),
    ],
  });
}

/** Waits for the next minute, less than a second before it begins. */
async function untilMinute(signal: AbortSignal): Promise<void> {
  await delay(60_000 - (Date.now() % 60_000) - 500, signal);
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
