import type { Progress } from "../../cluster/progress.ts";
import { delay } from "../../src/kube/signals.ts";
import { Installation } from "../support/installation.ts";
import { handlersReady } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import type { World } from "../support/world.ts";
import { dealFaults } from "./dealer.ts";
import { faults } from "./faults.ts";
import type { Course } from "./flat.ts";
import { type Incident, Journal } from "./journal.ts";
import { Observer } from "./observer.ts";
import { Player, type Tally } from "./player.ts";
import { pruneUntil } from "./pruner.ts";
import { Random } from "./random.ts";
import { sampleUntil } from "./sampler.ts";
import { allEnded, clear, noOrphans, reasonsOf, suspend } from "./settled.ts";
import type { Failure } from "./story.ts";
import { deploy, type Strategy, scheduleOf, workloadsOf } from "./workloads.ts";

export interface CrashOptions {
  world: World;
  progress: Progress;
  minutes: number;
  /** Of all that is left to chance; what the cluster makes of it is not in it. */
  seed: number;
}

/** What happened in a run, and what did not hold. */
export interface CrashReport {
  seed: number;
  minutes: number;
  /** Restores that were seen from outside: a program that was killed went on in the same life. */
  restores: Record<Strategy, number>;
  crashes: number;
  /** How often each fault really happened. */
  faults: Record<string, number>;
  checkpoints: { made: number; deleted: number; failed: ReturnType<typeof reasonsOf> };
  workloads: (Omit<Tally, "awayMs"> & { name: string; awaySeconds: { median: number; most: number } })[];
  /** Memory and open files of every process of operator and agent. */
  courses: Course[];
  incidents: Incident[];
  failures: Failure[];
}

/** How many workloads are deployed, or crash at the end, side by side. */
const SIDE_BY_SIDE = 3;
/** Longer than an agent needs to take up what is good, as the observer has it. */
const CALM_MS = 35_000;

/**
 * Many small counters that crash at random, while what keeps their state is broken at random too. At the end everything
 * is left alone until it is settled; then each crashes once more.
 *
 * Errors: what keeps it from being played at all. What does not hold is in the report.
 */
export async function soakCrashes({ world, progress, minutes, seed }: CrashOptions): Promise<CrashReport> {
  const failures: Failure[] = [];
  const fail = (failure: Failure) => {
    failures.push(failure);
    progress.note(`DOES NOT HOLD: ${failure.what}`);
  };
  const note = (text: string) => progress.note(`${new Date().toISOString().slice(11, 19)} ${text}`);
  const holds = async (what: string, check: () => Promise<void>) => {
    await progress.task(what, check).catch((error: Error) => {
      fail({ what: `${what}: ${error.message}`, at: new Date().toISOString() });
    });
  };
  const random = new Random(seed);
  const journal = new Journal();
  const observer = new Observer(world, journal.calmSince);
  const stage = { world, observer, journal, fail, note };

  await handlersReady(world);
  const workloads = workloadsOf(world);
  const players: Player[] = [];
  await progress.task(`deploying ${workloads.length} workloads`, () =>
    inTurns(workloads, async (workload) => {
      players.push(new Player(stage, workload, await deploy(world, workload), random.split()));
      await world.schedule(scheduleOf(workload));
    }),
  );

  using all = new Ending();
  const [observing, sampling, breaking, playing, pruning] = [
    all.one(),
    all.one(),
    all.one(),
    all.one(),
    all.one(),
  ];
  const observed = observer.watch(observing.signal);
  const courses = sampleUntil(world.cluster.name, sampling.signal);
  const pruned = pruneUntil(world, players, observer, pruning.signal);
  await progress.task(`${minutes} minutes of crashes under faults (seed ${seed})`, async (detail) => {
    const broken = dealFaults({ world, journal, random: random.split(), minutes, note }, breaking.signal);
    const played = Promise.all(players.map((player) => player.play(playing.signal)));
    const end = Date.now() + minutes * 60_000;
    while (Date.now() < end) {
      const { restores, crashes } = sums(players);
      const made = journal.incidents.filter(({ seen }) => seen !== undefined).length;
      detail(`${crashes} crashes, ${restores.Runtime + restores.Image} restores, ${made} faults`);
      await delay(Math.min(5_000, Math.max(1, end - Date.now())));
    }
    breaking.abort();
    await broken;
    playing.abort();
    await played;
  });
  pruning.abort();
  const deleted = await pruned;

  await holds("everything is there again", async () => {
    await world.cluster.waitReady();
    await new Installation(world).whole();
    await handlersReady(world);
  });
  await holds("no object is stuck", async () => {
    await suspend(world, workloads);
    await allEnded(observer);
  });
  const failed = reasonsOf(observer);
  await waitFor(
    "all to be calm for a while",
    () => Date.now() - (journal.calmSince() ?? Date.now()) > CALM_MS,
  );
  await holds("each crashes once more, and counts on", () =>
    inTurns(players, (player) => player.finish(observing.signal)),
  );
  sampling.abort();
  const seen = await courses;
  const made = observer.made;
  await holds("nothing is left over", () => noOrphans(world, observer));
  await holds("what is deleted leaves nothing", async () => {
    await clear(world, workloads, observer);
    await noOrphans(world, observer);
  });
  observing.abort();
  await observed;

  for (const course of seen.filter(({ flat }) => flat === false)) {
    fail({ what: `${course.name} does not stay flat`, at: now(), story: course });
  }
  const report: CrashReport = {
    seed,
    minutes,
    ...sums(players),
    faults: journal.counts(faults.map(({ name }) => name)),
    checkpoints: { made, deleted, failed },
    workloads: players.map(({ workload, tally: { awayMs, ...tally } }) => ({
      name: workload.name,
      ...tally,
      awaySeconds: secondsOf(awayMs),
    })),
    courses: seen,
    incidents: journal.incidents,
    failures,
  };
  for (const what of zeros(report)) fail({ what, at: now() });
  return report;
}

/** Restores and faults that a run was to have and had none of. */
export function zeros({ restores, faults }: Pick<CrashReport, "restores" | "faults">): string[] {
  const counts = {
    ...faults,
    "restores by strategy Runtime": restores.Runtime,
    "restores by strategy Image": restores.Image,
  };
  return Object.entries(counts)
    .filter(([, count]) => count === 0)
    .map(([name]) => `never happened: ${name}`);
}

function sums(players: readonly Player[]): Pick<CrashReport, "restores" | "crashes"> {
  const restores = { Runtime: 0, Image: 0 };
  let crashes = 0;
  for (const { workload, tally } of players) {
    restores[workload.strategy] += tally.restores;
    crashes += tally.crashes;
  }
  return { restores, crashes };
}

function secondsOf(awayMs: readonly number[]): { median: number; most: number } {
  const sorted = awayMs.toSorted((a, b) => a - b).map((ms) => Number((ms / 1000).toFixed(1)));
  return { median: sorted[sorted.length >> 1] ?? 0, most: sorted.at(-1) ?? 0 };
}

const now = () => new Date().toISOString();

/** Does all of them, a few side by side. */
async function inTurns<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const left = all.values();
  const turn = async () => {
    for (const one of left) await work(one);
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, turn));
}

/** What goes on in the background, and ends at the latest with the run. */
class Ending implements Disposable {
  readonly #all: AbortController[] = [];
  one(): AbortController {
    const controller = new AbortController();
    this.#all.push(controller);
    return controller;
  }
  [Symbol.dispose](): void {
    for (const controller of this.#all) controller.abort();
  }
}
