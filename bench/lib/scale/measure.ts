import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { bundle } from "../../../scripts/build.ts";
import { schedules } from "../../../src/api/kinds.ts";
import type { CheckpointSchedule } from "../../../src/api/schedule.ts";
import { Cache } from "../../../src/kube/cache.ts";
import { Client } from "../../../src/kube/client.ts";
import { type KubeObject, namespaces } from "../../../src/kube/resources.ts";
import { delay } from "../../../src/kube/signals.ts";
import { WORKERS } from "../../../src/operator/schedule/controller.ts";
import { startApiServer } from "../../../test/support/apiserver.ts";
import { installCrds } from "../../../test/support/crds.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { SimulatedAgents } from "./agents.ts";
import { OperatorProcess, type Samples, total } from "./operator.ts";
import { makeWorld, reschedule } from "./world.ts";

/** What one size came to. Times in milliseconds. */
export interface Measured {
  size: number;
  /** From the operator's start until every workload has its schedule. */
  protectMs: number;
  /** From a new leader's start until its caches have their whole picture, and until it has looked at every schedule. */
  syncMs: number;
  restartMs: number;
  /** For how long the schedule controller was at its decisions in that look. */
  roundMs: number;
  /** Resident memory of that leader: at rest, after a minute of load, after all were due at once; and the most ever. */
  bytes: { rest: number; load: number; herd: number; most: number };
  /** Requests to the API server. */
  perMinute: { rest: number; load: number };
  /** From the moment a schedule is to act on its slot until its request. */
  lagMs: { p50: number; p99: number };
  /** Slots that never became a request, and requests that another one of the same slot had preceded. */
  missed: number;
  doubled: number;
  /** From due time to the end of the last request, of all that were due at once. */
  herdMs: number;
  herd: number;
  mostAtOnce: number;
  mostOnOneNode: number;
}

const MINUTE = 60_000;
/** Of so many workloads one is due in the minute that is measured, and all others together in the minute after. */
const SHARE = 10;
const NEVER = "0 0 1 1 *";
/** Every schedule is due once a day. */
const INTERVAL_MS = 24 * 60 * MINUTE;
/** How long rest is measured at least. */
const REST_MS = 20_000;
/** How long a simulated agent takes for a checkpoint. */
const DUMP_MS = 300;
const LIMITS = { perCluster: 50, perNode: 2 };
/** On a machine that is busy everything takes long; where nothing has gone on for so long, nothing will. */
const STALLED_MS = 3 * MINUTE;

/** The operator as it ships with that many annotated Deployments, on a real API server and etcd. */
export async function measure(
  size: number,
  { signal, note }: { signal: AbortSignal; note: (text: string) => void },
): Promise<Measured> {
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "kcr-scale-"));
  cleanup.defer(() => rm(directory, { recursive: true, force: true }));
  await bundle(directory);
  const settings = { store: "node", transfer: { enabled: false }, limits: LIMITS };
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

  const watching = new AbortController();
  const ours = AbortSignal.any([watching.signal, signal]);
  const seen = new Cache<CheckpointSchedule>({ client, resource: schedules });
  const agents = new SimulatedAgents(client, { dumpMs: DUMP_MS, intervalMs: INTERVAL_MS });
  const broken = Promise.all([seen.run(ours), agents.run(ours)]);
  broken.catch(() => {});
  cleanup.defer(async () => {
    watching.abort();
    await broken.catch(() => {});
  });
  /** Waits until a count has come so far; fewer where it has stalled. */
  const reached = (what: string, count: () => number, goal: number): Promise<number> =>
    Promise.race([
      progress(what, count, goal, signal),
      broken.then(() => Promise.reject(new Error("the simulated agents ended"))),
    ]);
  const settled = (cron: (number: number) => string) => () =>
    seen.list().filter(({ metadata, spec, status }) => {
      const number = Number(metadata.name.slice(metadata.name.lastIndexOf("-") + 1));
      return spec.schedule === cron(number) && status?.observedGeneration === metadata.generation;
    }).length;

  const start = async () => {
    const operator = await OperatorProcess.start(directory, api.kubeconfig);
    cleanup.defer(() => operator.stop());
    return operator;
  };
  note("  first start");
  let began = performance.now();
  const first = await start();
  await reached(
    "workloads with a schedule",
    settled(() => NEVER),
    size,
  );
  const protectMs = performance.now() - began;
  await first.quiet(signal);
  await first.stop();

  note("  a new leader");
  began = performance.now();
  const operator = await start();
  await operator.ready(signal);
  const syncMs = performance.now() - began;
  const looked = (samples: Samples) =>
    total(samples, "controller_runtime_reconcile_total", 'controller="schedule"') >= size &&
    total(samples, "workqueue_depth") === 0;
  const samples = await operator.until("it to have looked at every schedule", looked, signal);
  const restartMs = performance.now() - began;
  // The workers take turns on one processor: while one is timed, so are the others.
  const timed = total(samples, "controller_runtime_reconcile_time_seconds_sum", 'controller="schedule"');
  const roundMs = (timed * 1000) / WORKERS;
  await operator.quiet(signal);

  note("  at rest");
  const isLoad = (number: number) => number % SHARE === 0;
  const numbers = Array.from({ length: size }, (_, number) => number);
  const [some, others] = [numbers.filter(isLoad), numbers.filter((number) => !isLoad(number))];
  /** When the first are due. It takes less to give a workload another schedule than it took to give it its first. */
  const due = nextMinute(Date.now() + protectMs + REST_MS);
  const cron = (number: number) => onceADay(isLoad(number) ? due : due + MINUTE);
  await reschedule(client, some, onceADay(due), signal);
  await reschedule(client, others, onceADay(due + MINUTE), signal);
  await reached("schedules that were changed", settled(cron), size);
  await operator.quiet(signal);
  const perMinute = async (during: Promise<unknown>) => {
    const asked = async () => total(await operator.samples(), "rest_client_requests_total");
    const [before, since] = [await asked(), performance.now()];
    await during;
    return (((await asked()) - before) * MINUTE) / (performance.now() - since);
  };
  const left = due - Date.now();
  if (left < REST_MS) note(`  the machine is slow: ${Math.round(left / 1000)} s are left for rest`);
  const restPerMinute = await perMinute(delay(Math.max(1000, left - 1000), signal));
  const rest = (await operator.residentBytes()).now;

  note("  schedules spread");
  await delay(due - Date.now(), signal);
  const loadPerMinute = await perMinute(delay(MINUTE, signal));
  const load = (await operator.residentBytes()).now;

  note("  all others at once");
  const slots = [
    { due, expected: some.length },
    { due: due + MINUTE, expected: others.length },
  ].map((slot) => ({ ...slot, of: agents.slot(slot.due) }));
  for (const { expected, of } of slots) await reached("requests completed", () => of.ended, expected);
  const herdMs = Date.now() - (due + MINUTE);
  // What is asked for twice would be so by then.
  await operator.quiet(signal);
  const { now: herd, most } = await operator.residentBytes();
  const lags = [...agents.slot(due).lagMs.values()];
  return {
    size,
    protectMs,
    syncMs,
    restartMs,
    roundMs,
    bytes: { rest, load, herd, most },
    perMinute: { rest: restPerMinute, load: loadPerMinute },
    lagMs: { p50: quantile(lags, 0.5), p99: quantile(lags, 0.99) },
    missed: slots.reduce((sum, { expected, of }) => sum + expected - of.lagMs.size, 0),
    doubled: slots.reduce((sum, { of }) => sum + of.doubled, 0),
    herdMs,
    herd: others.length,
    mostAtOnce: agents.mostAtOnce,
    mostOnOneNode: agents.mostOnOneNode,
  };
}

/** Gives the count when it has come so far, or as far as it has come where it goes no further. */
async function progress(
  what: string,
  count: () => number,
  goal: number,
  signal: AbortSignal,
): Promise<number> {
  let [best, since] = [Number.NEGATIVE_INFINITY, Date.now()];
  return await waitFor(
    `${goal} ${what}`,
    () => {
      const now = count();
      if (now > best) [best, since] = [now, Date.now()];
      return (now >= goal || Date.now() - since > STALLED_MS) && { now };
    },
    { timeoutMs: 60 * MINUTE, intervalMs: 250, signal },
  ).then(({ now }) => now);
}

/** The first whole minute after a moment, and the expression that is due then alone. */
const nextMinute = (moment: number): number => Math.ceil(moment / MINUTE) * MINUTE;
const onceADay = (due: number): string => {
  const time = new Date(due);
  return `${time.getUTCMinutes()} ${time.getUTCHours()} * * *`;
};

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
