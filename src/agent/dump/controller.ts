import type { Checkpoint } from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { setCondition } from "../../api/conditions.ts";
import { asKcrError, KcrError } from "../../api/errors.ts";
import { known } from "../../api/facts.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints, requests, schedules } from "../../api/kinds.ts";
import { handlerOf } from "../../api/pod.ts";
import { readRecords } from "../../api/records.ts";
import { type CaptureSource, type CheckpointRequest, CRIU_OPTIONS, READY } from "../../api/request.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isAlreadyExists, isForbidden, isNamespaceTerminating, isNotFound } from "../../kube/errors.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { after } from "../../kube/signals.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import type { Context } from "../context.ts";
import { lackFor } from "../disk/controller.ts";
import { type Captured, inspect, unfit } from "../inspect.ts";
import type { Target } from "../kubelet.ts";
import { type KnownRun, readRun } from "../plan/runs.ts";
import { Slots } from "../slots.ts";
import { type BegunDump, noteBegun } from "./begun.ts";
import { capture, findLeftBehind } from "./capture.ts";
import {
  type CheckpointParts,
  checkpointFor,
  createdStatus,
  isMadeFor,
  isSameCapture,
} from "./checkpoint.ts";
import {
  type Dumpable,
  deadlineExceeded,
  deadlineOf,
  decideDump,
  judgePod,
  optionsIgnored,
} from "./decide.ts";
import { sourceOf } from "./source.ts";
import { sweepDump } from "./sweep.ts";

/** How soon to look again for a free slot, or whether a late dump has ended, in milliseconds. */
const SLOT_POLL_MS = 500;
/** How soon to look again for the archive of a dump that was given up, in milliseconds: for an hour at most. */
const LATE_POLL_MS = 10_000;
/** Requests that are looked at at once; how many of them dump is for the slots to say. */
const WORKERS = 64;

/**
 * Turns a request that the operator stamped with this node into a Checkpoint.
 *
 * Flow: the pod is looked at on the API server; the request becomes InProgress and records what is captured; the
 * kubelet dumps; the archive is checked; the Checkpoint is made, then its status, then the request is Completed.
 * Guarantees: killed at any point it is taken up again where it was; a request ends, at the latest at its
 * deadline; no two dumps of one container at once, and no more than settings.limits.perNode; nothing is dumped
 * of a run that the operator has not decided about.
 * Assumptions: one agent per node.
 */
export function dumpController(context: Context): Controller {
  return new Controller({
    name: "dump",
    log: context.log,
    metrics: context.metrics,
    workers: WORKERS,
    backoff: { baseMs: 200, maxMs: 30_000, jitter: 0.2 },
    reconcile: dumpReconciler(context),
    sources: [changesOf(context.caches.requests)],
  });
}

/** One look at one request; see {@link dumpController}. */
export function dumpReconciler(
  context: Context,
): (name: ObjectName, signal: AbortSignal) => Promise<Outcome> {
  const { node, client, engine, facts, settings, archives, layout, caches, log, now } = context;
  const slots = new Slots(settings.limits.perNode);

  return async (name, signal) => {
    const cached = caches.requests.get(name.namespace, name.name);
    if (cached === undefined || decideDump(cached, node, now()).type === "nothing") return done;
    const request = await client.get(requests, name, { signal }).catch(absent);
    if (request === undefined) return done;
    const decision = decideDump(request, node, now());
    switch (decision.type) {
      case "nothing":
        return done;
      case "fail":
        await fail(context, request, decision.error);
        return done;
      case "begin":
        return await begin(request, signal);
      case "resume":
      case "late":
        return await takeUp(request, decision, signal);
      default:
        return decision satisfies never;
    }
  };

  /** Dumps the container, if it may be dumped and there is a slot for it. */
  async function begin(request: CheckpointRequest, signal: AbortSignal): Promise<Outcome> {
    using held = new DisposableStack();
    const slot = slots.tryTake(slotKey(request));
    if (slot === undefined) return again(SLOT_POLL_MS);
    held.use(slot);

    const pod = await client.get(pods, podName(request), { signal }).catch(absent);
    const dumpable = judgePod(request, pod, pod && (await runOf(pod, request)));
    if (dumpable instanceof KcrError) {
      await fail(context, request, dumpable);
      return done;
    }
    const lack = await lackFor(context, dumpable);
    if (lack !== undefined) {
      await fail(context, request, lack);
      return done;
    }
    const source = sourceOf(dumpable, await parentOf(dumpable, signal), settings);
    const startTime = now();
    const ignored = optionsIgnored(dumpable, settings);
    const begun = await writeStatus(client, requests, request, {
      phase: "InProgress",
      startTime: startTime.toISOString(),
      source,
      conditions: withIgnored(request.status?.conditions, ignored, now()),
    });
    if (ignored !== undefined) warn(context, request, ignored);
    const deadline = deadlineOf(begun);
    await note(begunDump(begun, source, startTime));
    // The slot is the dump's from here on, however long it lasts and whatever becomes of this reconcile.
    const untilEnd = held.move();
    const dump = capture(context, targetOf(begun), source, deadline, signal).finally(() =>
      untilEnd.dispose(),
    );
    return await follow(begun, source, startTime, dump, deadline, signal);
  }

  /** Waits for a dump and settles its request: at its deadline if it is late, and then its archive when it comes. */
  async function follow(
    request: CheckpointRequest,
    source: CaptureSource,
    startTime: Date,
    dump: Promise<Captured>,
    deadline: Date,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const outcome = dump.then(
      (captured) => ({ captured }),
      (error: unknown) => ({ error }),
    );
    const inTime = await before(deadline.getTime() - now().getTime(), outcome);
    const settled = inTime === undefined ? await fail(context, request, deadlineExceeded(request)) : request;
    const result = await outcome;
    if (signal.aborted && "error" in result) throw result.error;
    if ("captured" in result) {
      facts.learn(result.captured.facts);
      await record(settled, source, startTime, result.captured);
      return done;
    }
    if (inTime !== undefined) await fail(context, request, asKcrError(result.error));
    else
      log.warn({ ...nameFields(request), err: result.error }, "a dump that was given up failed in the end");
    await sweepDump(context, begunDump(request, source, startTime), signal);
    return done;
  }

  /** Goes on where a process was killed, or an error ended a reconcile. */
  async function takeUp(
    request: CheckpointRequest,
    { type, source, startTime }: { type: "resume" | "late"; source: CaptureSource; startTime: Date },
    signal: AbortSignal,
  ): Promise<Outcome> {
    // Not the cache: what it does not know yet would be dumped, or adopted, a second time.
    const { items } = await client.listAll(checkpoints, { fieldSelector: `spec.nodeName=${node}`, signal });
    const existing = items.find((checkpoint) => isMadeFor(checkpoint, request));
    if (existing !== undefined) {
      await settle(request, await withStatus(existing, source), source);
      return done;
    }
    const inTime = now() < deadlineOf(request);
    if (slots.isHeld(slotKey(request)) || !(await engine.settled(source))) {
      if (type === "resume" && !inTime) await fail(context, request, deadlineExceeded(request));
      return again(SLOT_POLL_MS);
    }
    const named = new Set(items.map((checkpoint) => checkpoint.spec.checkpointData));
    const left = await findLeftBehind(context, targetOf(request), source, startTime, named);
    switch (left.type) {
      case "archive":
        log.info(
          { ...nameFields(request), archive: left.captured.name },
          "taking up an archive that was left behind",
        );
        await record(request, source, startTime, left.captured);
        return done;
      case "unfinished":
        if (type === "resume" && !inTime) await fail(context, request, deadlineExceeded(request));
        return again(SLOT_POLL_MS);
      case "nothing":
        // The kubelet may still be at it for the agent before.
        if (type === "late") return again(LATE_POLL_MS);
        if (inTime) return await begin(request, signal);
        await fail(context, request, deadlineExceeded(request));
        return done;
      default:
        return left satisfies never;
    }
  }

  /** Makes the Checkpoint of an archive and lets the request end with it. */
  async function record(
    request: CheckpointRequest,
    source: CaptureSource,
    startTime: Date,
    captured: Captured,
  ): Promise<void> {
    await note(begunDump(request, source, startTime, captured.name));
    const schedule = await scheduleOf(request);
    const parts: CheckpointParts = { request, source, captured, startTime, node, schedule };
    const checkpoint = await create(parts).catch(async (error: unknown) => {
      // A request that is gone, or whose namespace goes, has nobody left to whom the archive could matter.
      if (isNamespaceTerminating(error)) return undefined;
      if (!isForbidden(error) && !isNotFound(error)) throw error;
      const left = await client.get(requests, request.metadata).catch(absent);
      if (left !== undefined && left.metadata.deletionTimestamp === undefined) throw error;
      return undefined;
    });
    if (checkpoint === undefined) {
      await archives.remove(captured.name);
      return;
    }
    if (checkpoint.spec.checkpointData !== captured.name) await archives.remove(captured.name);
    const written = checkpoint.status?.phase ? checkpoint : await describe(checkpoint, source, captured);
    await settle(request, written, source);
  }

  /** A disk that takes no note keeps nobody from saving a container: what is left of the dump may stay there then. */
  async function note(dump: BegunDump): Promise<void> {
    try {
      await noteBegun(layout, dump);
    } catch (err) {
      log.warn({ ...dump.request, err }, "it could not be noted that a dump is made");
    }
  }

  async function create(parts: CheckpointParts): Promise<Checkpoint> {
    for (const distinct of [false, true]) {
      const wanted = checkpointFor(parts, distinct);
      try {
        return await client.create(checkpoints, wanted);
      } catch (error) {
        if (!isAlreadyExists(error)) throw error;
      }
      const existing = await client.get(checkpoints, wanted.metadata).catch(absent);
      if (existing !== undefined && isSameCapture(existing, parts)) return existing;
    }
    throw new Error(`both names of the Checkpoint of request ${parts.request.metadata.name} are taken`);
  }

  /** A Checkpoint that was made but not described yet is described by its archive, as far as that can be read. */
  async function withStatus(checkpoint: Checkpoint, source: CaptureSource): Promise<Checkpoint> {
    if (checkpoint.status?.phase) return checkpoint;
    const captured = await inspect(archives, checkpoint.spec.checkpointData).catch(unfit);
    return await describe(checkpoint, source, captured);
  }

  async function describe(
    checkpoint: Checkpoint,
    source: CaptureSource,
    captured: Captured | undefined,
  ): Promise<Checkpoint> {
    // What the archive does not say of itself, the node does.
    const environment = { ...(await facts.of(caches.nodes.get(undefined, node))), ...known(captured?.facts) };
    const status = createdStatus(source, captured, environment, now());
    return await writeStatus(client, checkpoints, checkpoint, status);
  }

  /** The request ends with its Checkpoint: Completed, or, given up before, only with the reference. */
  async function settle(
    request: CheckpointRequest,
    checkpoint: Checkpoint,
    source: CaptureSource,
  ): Promise<void> {
    const { name, namespace, uid } = checkpoint.metadata;
    const reference = { apiVersion: API_VERSION, kind: checkpoints.kind, name, namespace, uid };
    if (request.status?.phase === "Failed") {
      await writeStatus(client, requests, request, { checkpoint: reference }).catch(absent);
      return;
    }
    const message = `checkpoint ${name} was taken`;
    await writeStatus(client, requests, request, {
      phase: "Completed",
      completionTime: now().toISOString(),
      checkpoint: reference,
      message,
      conditions: setCondition(
        request.status?.conditions,
        { type: READY, status: "True", reason: "Completed", message },
        now(),
      ),
    }).catch(absent);
    const event = { type: "Normal", reason: "CheckpointTaken", action: "Checkpoint", note: message } as const;
    context.recorder.record({ regarding: request, ...event });
    context.recorder.record({ regarding: podReference(request, source.lineage.podUID), ...event });
  }

  async function runOf(pod: Pod, { status }: CheckpointRequest): Promise<KnownRun | KcrError | undefined> {
    const container = status?.containerName;
    if (handlerOf(pod) === undefined || container === undefined) return undefined;
    return await readRun(layout, { podUID: pod.metadata.uid ?? "", container });
  }

  /** The Checkpoint whose image the container has. */
  async function parentOf(
    { pod, container }: Dumpable,
    signal: AbortSignal,
  ): Promise<Checkpoint | undefined> {
    if (handlerOf(pod) !== undefined) return undefined;
    const parent = readRecords(pod)[container.name]?.parent;
    const { namespace } = pod.metadata;
    if (parent === undefined) return undefined;
    return await client.get(checkpoints, { namespace, name: parent }, { signal }).catch(absent);
  }

  async function scheduleOf({ spec, metadata: { namespace } }: CheckpointRequest) {
    const reference = spec.checkpointScheduleRef;
    if (reference === undefined) return undefined;
    const schedule = await client.get(schedules, { namespace, name: reference.name }).catch(absent);
    return reference.uid === undefined || schedule?.metadata.uid === reference.uid ? schedule : undefined;
  }
}

/** Ends a request, saying why to whoever looks at it or at its pod. A request that is gone has ended. */
async function fail(
  context: Context,
  request: CheckpointRequest,
  error: KcrError,
): Promise<CheckpointRequest> {
  const { client, log, now } = context;
  const { code, advice } = error;
  const written = await writeStatus(client, requests, request, {
    phase: "Failed",
    completionTime: now().toISOString(),
    reason: code,
    message: advice,
    conditions: setCondition(
      request.status?.conditions,
      { type: READY, status: "False", reason: code, message: advice },
      now(),
    ),
  }).catch(absent);
  log.warn({ ...nameFields(request), code, err: error }, "a request failed");
  warn(context, request, error);
  return written ?? { ...request, status: { ...request.status, phase: "Failed", reason: code } };
}

/** Tells whoever looks at a request, or at its pod. */
function warn({ recorder }: Context, request: CheckpointRequest, { code, advice }: KcrError): void {
  const event = { type: "Warning", reason: code, action: "Checkpoint", note: advice } as const;
  recorder.record({ regarding: request, ...event });
  recorder.record({ regarding: podReference(request, request.status?.podUID), ...event });
}

function withIgnored(
  conditions: Condition[] | undefined,
  ignored: KcrError | undefined,
  now: Date,
): Condition[] | undefined {
  if (ignored === undefined) return conditions;
  const { code: reason, advice: message } = ignored;
  return setCondition(conditions, { type: CRIU_OPTIONS, status: "False", reason, message }, now);
}

/** What `promise` gives, or undefined when `ms` milliseconds pass first. */
async function before<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const cancel = after(ms, () => resolve(undefined));
  try {
    return await Promise.race([promise, late]);
  } finally {
    cancel();
  }
}

const nameFields = ({ metadata: { namespace, name } }: CheckpointRequest) => ({ namespace, request: name });

const podName = ({ metadata, spec }: CheckpointRequest) => ({
  namespace: metadata.namespace,
  name: spec.podReference.name,
});

const slotKey = ({ status }: CheckpointRequest): string => `${status?.podUID}/${status?.containerName}`;

const targetOf = (request: CheckpointRequest): Target => ({
  namespace: request.metadata.namespace ?? "",
  pod: request.spec.podReference.name,
  container: request.status?.containerName ?? "",
});

const begunDump = (
  request: CheckpointRequest,
  source: CaptureSource,
  startTime: Date,
  archive?: string,
): BegunDump => {
  const { namespace = "", name, uid = "" } = request.metadata;
  const fields = { request: { namespace, name, uid }, target: targetOf(request), source };
  return { ...fields, startTime: startTime.toISOString(), ...(archive === undefined ? {} : { archive }) };
};

const podReference = (request: CheckpointRequest, uid: string | undefined) => ({
  apiVersion: "v1",
  kind: pods.kind,
  ...podName(request),
  uid,
});
