import { randomUUID } from "node:crypto";
import type { Cluster } from "../cluster/cluster.ts";
import { until } from "../cluster/wait.ts";
import type { Checkpoint } from "../src/api/checkpoint.ts";
import { isTerminal } from "../src/api/kinds.ts";
import type { Pod } from "../src/kube/resources.ts";
import { after, follow } from "../src/kube/signals.ts";
import { type DataSet, differing, sampleOf, write } from "./data.ts";
import { type Outage, outageOf, type Poll, type Stage as Seeing, stageOf } from "./outage.ts";
import { type Screen, seconds, thousands } from "./screen.ts";
import { Stage } from "./stage.ts";
import type { Strategy } from "./strategy.ts";
import type { Result, Seen } from "./summary.ts";
import { followNamespace, type Timeline } from "./timeline.ts";
import { watchRedis } from "./watch-redis.ts";
import { excerpt, NAME } from "./workload.ts";

/** How many values are compared. */
const SAMPLE = 1_000;
/** Every minute a slot, and one that fails is followed by the next. */
const CHECKPOINT_PATIENCE_MS = 300_000;
const RESTORE_PATIENCE_MS = 180_000;
/** A crash is not staged when the next slot is nearer than this: nothing wrong with it, but harder to follow. */
const QUIET_MS = 8_000;

export interface WalkthroughOptions {
  strategy: Strategy;
  keys: number;
  signal: AbortSignal;
}

/**
 * One annotation, a crash, and the state is back: plays it on a cluster with kcr in it and tells what happens.
 *
 * Errors: what was waited for in vain; those of the cluster; the signal's reason.
 */
export async function walkthrough(
  cluster: Cluster,
  screen: Screen,
  options: WalkthroughOptions,
): Promise<{ result: Result; seen: Seen }> {
  using stage = new Stage(cluster, options.strategy, options.signal);
  try {
    return await play(stage, screen, options);
  } finally {
    // However it ended: a checkpoint a minute would fill the disk.
    await stage.suspend().catch((error: unknown) => {
      screen.line(`A checkpoint is still taken every minute: suspending the schedule failed: ${error}`);
    });
  }
}

async function play(
  stage: Stage,
  screen: Screen,
  { strategy, keys, signal }: WalkthroughOptions,
): Promise<{ result: Result; seen: Seen }> {
  const pod = await deploy(stage, screen, strategy);
  const data: DataSet = { keys, run: randomUUID() };
  const keysBefore = await fill(stage, screen, pod, data, signal);

  const tell = (line: string) => screen.line(`  ${line}`);
  await using timeline = await followNamespace(stage.client, pod.metadata.namespace ?? "", tell, signal);
  await showCheckpoint(stage, screen, { strategy, timeline, written: new Date(), signal });

  const outage = await crash(stage, screen, { strategy, pod, keys: keysBefore, signal });
  const restored = await screen.progress.task("waiting for kcr to settle", () => stage.restored(pod));
  const checkpoint = timeline.checkpoints().find(({ metadata }) => metadata.name === restored.checkpoint);
  if (checkpoint === undefined) throw new Error(`Checkpoint ${restored.checkpoint} is gone`);

  const after = await readBack(stage, screen, { strategy, pod, data });
  const { spans, ...windows } = outage;
  return {
    result: {
      checkpoint: describe(checkpoint),
      keysBefore,
      keysAfter: after.keys,
      restarts: restored.restarts,
      ...windows,
      strategy: strategy.name,
    },
    seen: {
      spans,
      pod: pod.metadata.name,
      node: stage.node,
      sameImage: restored.sameImage,
      compared: after.compared,
      differing: after.differing,
    },
  };
}

async function deploy(stage: Stage, screen: Screen, { says }: Strategy): Promise<Pod> {
  screen.heading("A database that keeps everything in memory");
  screen.say(
    `A Deployment of Redis that never writes to disk. All there is of kcr is one annotation: take a checkpoint every minute. ${says.workload}`,
  );
  await screen.progress.task("making namespace demo", () => stage.makeNamespace());
  screen.command("kubectl apply -f redis.yaml", excerpt(await stage.deploy(), 7));
  const pod = await screen.progress.task("waiting for Redis", () => stage.runningPod());
  screen.table("kubectl get pods", await stage.kubectl("get", "pods"));
  return pod;
}

async function fill(
  stage: Stage,
  screen: Screen,
  pod: Pod,
  data: DataSet,
  signal: AbortSignal,
): Promise<number> {
  screen.say(`Now ${thousands(data.keys)} keys are written to it, each with a value of this very run.`);
  using redis = await stage.redis(pod);
  await screen.progress.task("writing keys", (detail) =>
    write(redis, data, (written) => detail(`${thousands(written)} of ${thousands(data.keys)}`), signal),
  );
  const size = await redis.size();
  screen.line(`  DBSIZE ${thousands(size)}`);
  return size;
}

/** Waits for a good Checkpoint taken after `written`, and shows how it comes to be. */
async function showCheckpoint(
  stage: Stage,
  screen: Screen,
  {
    strategy,
    timeline,
    written,
    signal,
  }: { strategy: Strategy; timeline: Timeline; written: Date; signal: AbortSignal },
): Promise<void> {
  screen.heading("A checkpoint, as scheduled");
  screen.say(
    `kcr has made a CheckpointSchedule of the annotation. At each slot it makes a CheckpointRequest, and the agent of the node has the kubelet dump the running container. ${strategy.says.checkpoint}`,
  );
  let schedule = await stage.schedule();
  screen.table("kubectl get checkpointschedules", await stage.kubectl("get", "ckpts"));

  const good = () =>
    timeline.checkpoints().some((c) => strategy.isReady(c) && new Date(c.spec.checkpointTimestamp) > written);
  const quiet = () =>
    timeline.requests().every(isTerminal) &&
    Date.parse(schedule.status?.nextRunTime ?? "") - Date.now() > QUIET_MS;
  await screen.progress.task("waiting for a checkpoint of all keys", async (detail) => {
    const probe = async () => {
      schedule = await stage.schedule();
      const left = Math.ceil((Date.parse(schedule.status?.nextRunTime ?? "") - Date.now()) / 1000);
      const busy = timeline.requests().some((request) => !isTerminal(request));
      detail(busy ? "the container is being dumped" : `next slot in ${Math.max(0, left)} s`);
      return good() && quiet();
    };
    await until("a good checkpoint of all keys", probe, { timeoutMs: CHECKPOINT_PATIENCE_MS, signal });
  });
  screen.table("kubectl get checkpoints", await stage.kubectl("get", "ckpt"));
}

const watched: Record<Seeing, string> = {
  down: "no answer",
  empty: "an empty database: the container was started afresh",
  partial: "some of the keys",
  full: "all keys are back",
};

/** Kills Redis and watches it until it has all its keys again. */
async function crash(
  stage: Stage,
  screen: Screen,
  { strategy, pod, keys, signal }: { strategy: Strategy; pod: Pod; keys: number; signal: AbortSignal },
): Promise<Outage> {
  screen.heading("A crash");
  screen.say(
    `Redis gets SIGKILL from its node, as if the kernel had run out of memory. It is asked for DBSIZE about fifty times a second meanwhile. ${strategy.says.crash}`,
  );
  screen.line();

  const killMs = performance.now();
  let aliveMs = killMs;
  let before: Seeing = "full";
  const look = (polls: readonly Poll[]): boolean => {
    const { atMs, ...answer } = polls.at(-1)!;
    const now = stageOf(answer, keys);
    const over = now === "full" && outageOf(polls, keys, killMs) !== undefined;
    if (now === "full" && !over) aliveMs = atMs;
    if (now !== before) {
      if (before === "full") tell(0, "SIGKILL");
      const again = now === "down" && polls.some((poll) => poll.keys === 0);
      tell(atMs - aliveMs, again ? restarting : watched[now]);
    }
    before = now;
    return over;
  };
  const tell = (ms: number, text: string) => screen.line(`  ${`+${seconds(ms)}`.padStart(8)}  ${text}`);

  using watch = follow(signal);
  const cancel = after(RESTORE_PATIENCE_MS, () =>
    watch.abort(new Error(`Redis did not have its keys again within ${RESTORE_PATIENCE_MS / 1000} s`)),
  );
  try {
    return await screen.progress.task("watching Redis", async () => {
      const watching = watchRedis(pod.status?.podIP ?? "", look, watch.signal);
      watching.catch(() => {});
      await stage.kill(pod);
      return outageOf(await watching, keys, killMs)!;
    });
  } finally {
    cancel();
    watch.abort(new Error("seen enough"));
  }
}

const restarting = "no answer: the container restarts from its checkpoint";

async function readBack(
  stage: Stage,
  screen: Screen,
  { strategy, pod, data }: { strategy: Strategy; pod: Pod; data: DataSet },
): Promise<{ keys: number; compared: number; differing: string[] }> {
  screen.heading("What came back");
  screen.say(`${strategy.says.cameBack} The Events say what was done, on the pod and on the Deployment.`);
  screen.table("kubectl get pods", await stage.kubectl("get", "pods"));
  screen.command(
    `kubectl events --for deployment/${NAME}`,
    await stage.kubectl("events", "--for", `deployment/${NAME}`),
  );
  using redis = await stage.redis(pod);
  const sample = sampleOf(data.keys, SAMPLE);
  return {
    keys: await redis.size(),
    compared: sample.length,
    differing: await differing(redis, data, sample),
  };
}

function describe({ metadata, status }: Checkpoint): Result["checkpoint"] {
  return {
    name: metadata.name,
    phase: status?.phase ?? "",
    image: status?.runtimeImage ?? "",
    digest: status?.imageDigest ?? "",
    bytes: status?.sizeBytes ?? 0,
    frozenMs: (status?.frozenMicroseconds ?? 0) / 1000,
  };
}
