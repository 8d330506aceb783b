import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { KcrError } from "../../api/errors.ts";
import { RUNTIME_LABEL, RUNTIME_READY, SELFTEST_ANNOTATION } from "../../api/labels.ts";
import { handlerOf } from "../../api/pod.ts";
import type { CaptureSource } from "../../api/request.ts";
import { hasHandlerReady, readSelftest, SELFTEST_VERSION, type SelftestResult } from "../../api/selftest.ts";
import { backoffDelay } from "../../kube/backoff.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { type Node, nodes, type Pod, pods } from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";
import { namesIn, readIfThere, writeWhole } from "../../store/files.ts";
import type { ContainerKey } from "../../store/layout.ts";
import { type Note, parseNote } from "../../store/notes.ts";
import { PLAN_VERSION, type Plan, parsePlan } from "../../store/plan.ts";
import type { Context, Self } from "../context.ts";
import { capture } from "../dump/capture.ts";
import type { Captured } from "../inspect.ts";
import { archiveFile } from "../store/sources.ts";
import { decideSelftest, fingerprint, offersHandler, type Step } from "./decide.ts";
import { CRASH, isSelftest, SELFTEST_CONTAINER, selftestName, selftestPod } from "./pod.ts";

const STEP_MS = 1_000;
const LEAVING_MS = 10_000;
/** After a failure it is tried again, in case it was chance. */
const retry = { baseMs: 15_000, maxMs: 600_000, jitter: 0.2 };

/**
 * Finds out whether the runtime handler of the node works, by using it: a pod is checkpointed, crashes and has to
 * come back. The label kcr.io/runtime=ready of the node says so; pods of class kcr go to no other node.
 *
 * Flow: at each start of the agent, and when runtime, kernel, kubelet or kcr are others or the label is gone: pod ->
 * checkpoint through the kubelet -> copy -> plan -> crash -> restored by the handler -> label -> everything removed.
 * Guarantees: killed at any point the next agent goes on with what there is; a test that fails is told in the node's
 * annotation kcr.io/runtime-selftest, by which new pods avoid the node, and in Events of node and agent, and takes the
 * label away once no pod of the class is on the node; an error of the API server is no failure of the handler.
 */
export function selftestController(context: Context, self: Self): Controller {
  const { node, client, caches, archives, layout, store, pins, settings, recorder, log, metrics, now } =
    context;
  const name = selftestName(node);
  const crash = join(layout.selftest, CRASH);
  const timeoutMs = settings.selftest.timeoutSeconds * 1000;
  /** What has passed since this agent started. */
  let passed: string | undefined;
  let failures = { tested: "", count: 0, nextTime: 0 };

  const reconcile = async (_: unknown, signal: AbortSignal): Promise<Outcome> => {
    const current = caches.nodes.get(undefined, node);
    if (current === undefined) return done;
    await settleLabel(current);
    const isLeaving = (await readIfThere(layout.disabled)) !== undefined;
    if (isLeaving || !offersHandler(current)) {
      await cleanUp(await client.get(pods, { namespace: self.namespace, name }, { signal }).catch(absent));
      passed = undefined;
      await write(current, {
        result: "absent",
        message: isLeaving
          ? "the handler kcr is being taken away from the node"
          : "the node's runtime does not offer the handler kcr",
      });
      // Nothing tells that it stays after all.
      return isLeaving ? again(LEAVING_MS) : done;
    }
    const agent = await client.get(pods, { namespace: self.namespace, name: self.pod }, { signal });
    const tested = fingerprint(current, agent);
    if (passed === tested && hasHandlerReady(current)) return done;
    const waitMs = failures.tested === tested ? failures.nextTime - now().getTime() : 0;
    if (waitMs > 0) return again(waitMs);

    const pod = await client.get(pods, { namespace: self.namespace, name }, { signal }).catch(absent);
    const step = decideSelftest({ tested, pod, timeoutMs, ...(await left(pod)) }, now());
    return await take(step, { current, agent, tested, pod }, signal);
  };

  interface Test {
    current: Node;
    agent: Pod;
    tested: string;
    pod: Pod | undefined;
  }

  const take = async (step: Step, test: Test, signal: AbortSignal): Promise<Outcome> => {
    const { current, agent, tested, pod } = test;
    switch (step.type) {
      case "create":
        await rm(crash, { force: true });
        await mkdir(layout.selftest, { recursive: true, mode: 0o700 });
        await client
          .create(pods, selftestPod(agent, node, tested, layout.selftest))
          .catch((error: unknown) => {
            if (!isAlreadyExists(error)) throw error;
          });
        return again(STEP_MS);
      case "remove":
        await cleanUp(pod);
        return again(STEP_MS);
      case "wait":
        return again(STEP_MS);
      case "checkpoint":
        try {
          await plan(pod!, step.containerID, signal);
        } catch (error) {
          signal.throwIfAborted();
          if (!(error instanceof KcrError)) throw error;
          const { code: reason, advice: message } = error;
          return await take({ type: "failed", reason, message }, test, signal);
        }
        return again(0);
      case "crash":
        await writeWhole(crash, "");
        return again(STEP_MS);
      case "passed":
        passed = tested;
        failures = { tested, count: 0, nextTime: 0 };
        await write(current, { tested, result: "ready", message: step.message });
        await cleanUp(pod);
        log.info({ tested, message: step.message }, "the runtime handler works");
        return done;
      case "failed": {
        const { reason, message } = step;
        const count = failures.tested === tested ? failures.count + 1 : 1;
        const delayMs = backoffDelay(retry, count);
        passed = undefined;
        await write(current, { tested, result: "failed", reason, message });
        const { code, advice } = new KcrError(
          "SelfTestFailed",
          `the runtime handler is not used: ${message}`,
        );
        for (const regarding of [current, agent]) {
          recorder.record({ regarding, type: "Warning", reason: code, action: "SelfTest", note: advice });
        }
        log.warn({ tested, reason, message, delayMs }, "the self-test of the runtime handler failed");
        await cleanUp(pod);
        failures = { tested, count, nextTime: now().getTime() + delayMs };
        return again(delayMs);
      }
      default:
        return step satisfies never;
    }
  };

  /** What there is of a test on the node. */
  const left = async (pod: Pod | undefined) => {
    const told = (await readIfThere(crash)) !== undefined;
    if (pod === undefined) return { planned: false, told, note: undefined };
    const key = keyOf(pod);
    const [last] = (await namesIn(layout.notes(key))).filter((file) => file.endsWith(".json")).reverse();
    const text = last && (await readIfThere(join(layout.notes(key), last)));
    const note: Note | undefined = text === undefined ? undefined : parseNote(text);
    return { planned: (await planOf(key)) !== undefined, told, note };
  };

  const planOf = async (key: ContainerKey): Promise<Plan | undefined> => {
    const text = await readIfThere(layout.plan(key));
    return text === undefined ? undefined : parsePlan(text);
  };

  /** Has the kubelet checkpoint the container, unpacks the archive, and plans that the run is restored from it. */
  const plan = async (pod: Pod, containerID: string, signal: AbortSignal): Promise<void> => {
    const key = keyOf(pod);
    const target = { namespace: self.namespace, pod: pod.metadata.name, container: SELFTEST_CONTAINER };
    const source: CaptureSource = {
      lineage: { podUID: key.podUID, containerID, restartCount: 0 },
      defaultContainer: SELFTEST_CONTAINER,
    };
    const takenTime = now();
    const deadline = new Date(Date.parse(pod.metadata.creationTimestamp ?? "") + timeoutMs);
    const captured = await capture(context, target, source, deadline, signal);
    context.facts.learn(captured.facts);
    const copy = await unpack(captured, signal);
    const candidate = {
      checkpoint: name,
      uid: key.podUID,
      copy,
      takenTime: takenTime.toISOString(),
      containerID,
    };
    const whole: Plan = {
      version: PLAN_VERSION,
      ...key,
      namespace: target.namespace,
      pod: target.pod,
      run: containerID,
      onFailure: true,
      fallback: "FreshStart",
      onSpecChange: "Fresh",
      volumes: "Capture",
      maxAttempts: 1,
      stableSeconds: settings.restore.stableSeconds,
      perPodEnv: [],
      sharedVolumes: [],
      candidates: [candidate],
    };
    await writeWhole(layout.plan(key), `${JSON.stringify(whole, undefined, 1)}\n`);
  };

  const unpack = async (captured: Captured, signal: AbortSignal): Promise<string> => {
    try {
      await using archive = await archiveFile(captured.path, undefined);
      const { archive: copy } = await store.add(archive, signal);
      pins.hold(copy);
      return copy;
    } finally {
      await archives.remove(captured.name);
    }
  };

  /** Takes the test's pod away, and what it left on the node. */
  const cleanUp = async (pod: Pod | undefined): Promise<void> => {
    await rm(crash, { force: true });
    // Of an agent that was ended in the middle.
    const target = { namespace: self.namespace, pod: name, container: SELFTEST_CONTAINER };
    for (const archive of await archives.candidates(target)) await archives.remove(archive.name);
    if (pod === undefined) return;
    const key = keyOf(pod);
    const copy = (await planOf(key))?.candidates[0]?.copy;
    await client
      .delete(pods, pod.metadata, { preconditions: { uid: key.podUID }, gracePeriodSeconds: 0 })
      .catch(absent);
    await rm(layout.plan(key), { force: true });
    await rm(layout.notes(key), { recursive: true, force: true });
    if (copy !== undefined) await store.remove(copy);
  };

  /**
   * Whether pods of the class are on the node. Their node selector is the label: a kubelet that starts anew while it
   * is gone takes them for pods of another node, and ends them.
   */
  const isInUse = (): boolean =>
    caches.pods
      .list()
      .some((pod) => handlerOf(pod) && pod.status?.phase !== "Succeeded" && pod.status?.phase !== "Failed");

  /** Label and annotation of the node, where they differ in more than the time. */
  const write = async (current: Node, found: Omit<SelftestResult, "time" | "version">): Promise<void> => {
    const { metadata } = current;
    const label = metadata.labels?.[RUNTIME_LABEL];
    const isReady = found.result === "ready" || (label === RUNTIME_READY && isInUse());
    const wanted = isReady ? RUNTIME_READY : undefined;
    const { time: _, version: __, ...old } = readSelftest(current) ?? { time: "" };
    // Also what passed again says when it did.
    if (label === wanted && found.result !== "ready" && isDeepStrictEqual(old, { ...found })) return;
    const result: SelftestResult = { ...found, version: SELFTEST_VERSION, time: now().toISOString() };
    const body = {
      metadata: {
        labels: { [RUNTIME_LABEL]: wanted ?? null },
        annotations: { [SELFTEST_ANNOTATION]: JSON.stringify(result) },
      },
    };
    await client.patch(nodes, metadata, { type: "merge", body });
  };

  /** The label goes when the last pod has gone that needed it although the handler is not ready. */
  const settleLabel = async (current: Node): Promise<void> => {
    const result = readSelftest(current);
    if (result === undefined || result.result === "ready") return;
    if (current.metadata.labels?.[RUNTIME_LABEL] === undefined) return;
    const { time: _, version: __, ...found } = result;
    await write(current, found);
  };

  return new Controller({
    name: "selftest",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 30_000, jitter: 0.2 },
    reconcile,
    sources: [
      changesOf(caches.nodes),
      changesOf(caches.pods, (pod) => (isSelftest(pod) || handlerOf(pod) ? [{ name: node }] : [])),
    ],
  });
}

const keyOf = ({ metadata }: Pod): ContainerKey => ({
  podUID: metadata.uid ?? "",
  container: SELFTEST_CONTAINER,
});
