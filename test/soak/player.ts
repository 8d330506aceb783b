import { API_VERSION } from "../../src/api/group.ts";
import { requests } from "../../src/api/kinds.ts";
import { type ContainerStatus, runtimeID, statusOf } from "../../src/api/pod.ts";
import { readRecords } from "../../src/api/records.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { delay } from "../../src/kube/signals.ts";
import type { World } from "../support/world.ts";
import type { Reading } from "./counters.ts";
import type { Journal } from "./journal.ts";
import { type Bound, Ledger, pays } from "./ledger.ts";
import type { Observer } from "./observer.ts";
import { firstProcess } from "./processes.ts";
import type { Random } from "./random.ts";
import { type Failure, storyOf } from "./story.ts";
import { CONTAINER, podOf, type Workload } from "./workloads.ts";

/** How often a counter is asked, and the mean times between its crashes and between checkpoints on demand. */
const ASK_MS = 1_000;
const CRASH_MS = 75_000;
const DEMAND_MS = 120_000;
/** No crash before a restore has proved itself: three that come sooner speak against the Checkpoint. */
const STABLE_MS = 25_000;
/** How long a program may be silent, whatever is broken meanwhile. */
const PATIENCE_MS = 300_000;
/** How long a settled run may say too little: its container may have ended since it was looked at. */
const DOUBT_MS = 20_000;

/** What one workload has gone through. */
export interface Tally {
  crashes: number;
  /** Ends of its container that nobody here has ordered. */
  unasked: number;
  /** It came back in the same life. */
  restores: number;
  /** It began a new one, and owed nothing. */
  fresh: number;
  /** Silence from each crash to the first answer that was accepted, in milliseconds. */
  awayMs: number[];
}

export interface Stage {
  world: World;
  observer: Observer;
  journal: Journal;
  fail: (failure: Failure) => void;
  note: (text: string) => void;
}

/** Plays with one workload: asks its counter, has it crash now and then, and holds it to what it owes. */
export class Player {
  readonly workload: Workload;
  readonly tally: Tally = { crashes: 0, unasked: 0, restores: 0, fresh: 0, awayMs: [] };
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #ledger: Ledger;
  #pod: Pod;
  #silentSince: number | undefined;
  #asked = 0;

  /** @param pod its pod, which runs and has not crashed yet. */
  constructor(stage: Stage, workload: Workload, pod: Pod, random: Random) {
    this.#stage = stage;
    this.workload = workload;
    this.#pod = pod;
    this.#random = random;
    this.#ledger = new Ledger(runtimeID(statusOf(pod, CONTAINER)?.containerID) ?? "");
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** The Checkpoint that its state is owed to, should there be no newer one. */
  get baseName(): string | undefined {
    return this.#ledger.baseName;
  }

  async play(end: AbortSignal): Promise<void> {
    // Those that are large are not to be dumped all the time.
    const isHeavy = this.workload.schedule.startsWith("*/");
    const demand = () => Date.now() + this.#random.exponential(isHeavy ? 3 * DEMAND_MS : DEMAND_MS);
    let demandAt = Date.now() + this.#random.between(0, 15_000);
    let crashAt = Date.now() + this.#random.between(STABLE_MS, CRASH_MS);
    while (!end.aborted) {
      await this.listen();
      if (Date.now() >= demandAt && (await this.demand())) demandAt = demand();
      if (Date.now() >= crashAt && (await this.crash())) {
        crashAt = Date.now() + STABLE_MS + this.#random.exponential(CRASH_MS - STABLE_MS);
      }
      await delay(ASK_MS, end).catch(() => {});
    }
  }

  /** Asks once. What it says may be of another run, which nobody here has ordered. */
  async listen(): Promise<void> {
    const reading = await this.#ask();
    if (reading === undefined) {
      const silentMs = Date.now() - (this.#silentSince ?? Date.now());
      this.#silentSince ??= Date.now();
      await this.#find();
      if (silentMs < PATIENCE_MS) return;
      await this.#fail(`it has not answered for ${silentMs / 1000} s`);
      this.#silentSince = undefined;
    } else {
      this.#silentSince = undefined;
      if (!this.#ledger.saw(reading, Date.now())) await this.#unasked();
    }
  }

  /** Kills it once more, and waits until it counts on. What it does not, the story tells. */
  async finish(end: AbortSignal): Promise<void> {
    const until = Date.now() + PATIENCE_MS;
    while (Date.now() < until) {
      await this.listen();
      if (await this.crash()) return await this.#countsOn(until);
      await delay(ASK_MS, end);
    }
    await this.#fail("it could not be killed: it does not run, or does not answer");
  }

  async #countsOn(until: number): Promise<void> {
    const from = this.#ledger.last?.count ?? 0;
    while (Date.now() < until) {
      await this.listen();
      if ((this.#ledger.last?.count ?? 0) > from) return;
      await delay(ASK_MS);
    }
    await this.#fail("it does not count on");
  }

  /** Asks for a checkpoint; false where the API server does not take it. */
  async demand(): Promise<boolean> {
    const { client, namespace } = this.#stage.world;
    const name = `${this.workload.name}-${++this.#asked}`;
    const spec = { podReference: { name: this.#pod.metadata.name } };
    const asked = { apiVersion: API_VERSION, kind: requests.kind, metadata: { namespace, name }, spec };
    return await client.create(requests, asked).then(
      () => true,
      () => false,
    );
  }

  /** Kills it, if it runs, and waits until it is back. False: it could not be killed. */
  async crash(): Promise<boolean> {
    const status = await this.#status();
    if (this.#silentSince !== undefined || status?.state?.running === undefined) return false;
    const containerID = runtimeID(status.containerID) ?? "";
    if (containerID !== this.#ledger.containerID) {
      await this.#unasked();
      return false;
    }
    const pid = await firstProcess(this.#stage.world.cluster.name, containerID);
    if (pid === undefined) return false;
    const owed = this.#ledger.owed(await this.#stage.observer.takenOf(this.workload, this.#pod));
    process.kill(pid, "SIGKILL");
    this.tally.crashes += 1;
    await this.#comeBack(owed);
    return true;
  }

  async #unasked(): Promise<void> {
    this.tally.unasked += 1;
    this.#stage.note(`${this.workload.name} ended by itself`);
    await this.#comeBack(this.#ledger.owed(await this.#stage.observer.takenOf(this.workload, this.#pod)));
  }

  /** Waits until a new run is settled and says no less than what is owed. */
  async #comeBack(owed: Bound | undefined): Promise<void> {
    const { observer, note } = this.#stage;
    const before = this.#ledger.last;
    const since = Date.now();
    let doubtSince: number | undefined;
    for (;;) {
      const containerID = await this.#settled();
      const reading = containerID === undefined ? undefined : await this.#ask();
      const now = Date.now();
      if (containerID !== undefined && reading !== undefined) {
        const isPaid = pays(reading, owed);
        doubtSince ??= now;
        if (isPaid || now - doubtSince > DOUBT_MS) {
          const isSame = reading.life === before?.life;
          if (!isPaid)
            await this.#fail("its counter fell below its last good checkpoint", { owed, before, reading });
          else if (isSame) this.tally.restores += 1;
          else {
            this.tally.fresh += 1;
            note(
              `${this.workload.name} began afresh; of ${observer.of(this.#pod).length} Checkpoints none was due`,
            );
          }
          this.tally.awayMs.push(now - since);
          this.#ledger.begin(containerID, { ...reading, at: now }, isPaid ? owed : undefined);
          return;
        }
      } else {
        doubtSince = undefined;
      }
      if (now - since > PATIENCE_MS) {
        await this.#fail(`it has not come back for ${PATIENCE_MS / 1000} s`, {
          owed,
          before,
          containerID,
          reading,
        });
        return;
      }
      await delay(500);
    }
  }

  /**
   * The container that runs now, if it is another than the ledger's and nothing is to happen to it: by strategy Image
   * the operator restarts what the kubelet has restarted.
   */
  async #settled(): Promise<string | undefined> {
    const status = await this.#status();
    const containerID = runtimeID(status?.containerID);
    if (status?.state?.running === undefined || containerID === this.#ledger.containerID) return undefined;
    if (this.workload.strategy === "Runtime") return containerID;
    const record = readRecords(this.#pod)[CONTAINER];
    const isSettled =
      record === undefined ||
      (record.restore === undefined &&
        record.run === status.restartCount &&
        runtimeID(record.containerID) === containerID);
    return isSettled ? containerID : undefined;
  }

  /** The container as the API server has it; undefined while that does not say. */
  async #status(): Promise<ContainerStatus | undefined> {
    return (await this.#find()) ? statusOf(this.#pod, CONTAINER) : undefined;
  }

  /** Looks where its pod is now. */
  async #find(): Promise<boolean> {
    const found = await podOf(this.#stage.world, this.workload).catch(() => undefined);
    if (found !== undefined) this.#pod = found;
    return found !== undefined;
  }

  async #ask(): Promise<Reading | undefined> {
    return await this.workload.counter.next(this.#pod.status?.podIP ?? "").catch(() => undefined);
  }

  async #fail(what: string, more: object = {}): Promise<void> {
    const { world, observer, journal, fail } = this.#stage;
    const known = { ...more, run: this.#ledger.containerID, last: this.#ledger.last };
    const story = { ...known, ...(await storyOf(world, this.workload, this.#pod, observer, journal)) };
    fail({ what: `${this.workload.name}: ${what}`, at: new Date().toISOString(), story });
  }
}
