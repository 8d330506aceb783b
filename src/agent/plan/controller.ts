import { readlink, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import type { Facts } from "../../api/facts.ts";
import { describeMisfits } from "../../api/fit.ts";
import { checkpoints, restores } from "../../api/kinds.ts";
import { RESTORE_FROM_ANNOTATION } from "../../api/labels.ts";
import { lineageOf, type Run } from "../../api/lineage.ts";
import { containersOf, handlerOf, type PodContainer } from "../../api/pod.ts";
import { type Protection, protectionOf } from "../../api/protection.ts";
import { ARMED, type CheckpointRestore } from "../../api/restore.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { type ObjectReference, objectRef } from "../../kube/owner.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import { missing, namesIn, writeWhole } from "../../store/files.ts";
import { isContainerID, isContainerName } from "../../store/layout.ts";
import type { Plan } from "../../store/plan.ts";
import { BY_NAMESPACE, BY_POD_UID, BY_UID, type Context } from "../context.ts";
import { tellOnce, workloadOf } from "../notes/event.ts";
import { isSelftest } from "../selftest/pod.ts";
import { isToArm } from "./arm.ts";
import { copyOf, hasCopy } from "./copies.ts";
import { decidePlan, type LeftOut, leftOut, type PlanInput } from "./decide.ts";
import { type KnownRun, readRun } from "./runs.ts";
import { copyChanges, planChanges, runChanges } from "./sources.ts";

/** How soon everything of a pod is looked at again, whether or not a change was heard of. */
const RESYNC_MS = 10_000;
/** How soon a pod that is gone is looked at again while its notes are not told yet. */
const NOTES_MS = 10_000;

/**
 * Keeps for each container of the node's pods of class kcr a plan of what is restored when it fails: the handler
 * goes by that, whoever else is alive then. Keyed by the pod's UID.
 *
 * Flow: what the API server says of pod, schedules and Checkpoints, what the handler has written down of the
 * container's runs, and which copies the node has -> decide (decide.ts) -> the plan's file, written only when it
 * changes -> condition Armed of the CheckpointRestore that stands in it; an Event for what does not fit the node.
 * Guarantees: a plan is there whole or not at all; a plan and what the handler remembers of a pod go only when
 * the API server itself says that the pod is gone; before the first whole picture nothing is touched.
 */
export function planController(context: Context): Controller {
  const { node, client, caches, facts, layout, settings, log, metrics, now } = context;
  /** What was told: pod, container and, of what was left out, Checkpoint. */
  const told = new Set<string>();

  const reconcile = async ({ name: podUID }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const [pod] = caches.pods.byIndex(BY_UID, podUID);
    if (pod === undefined) return await forget(podUID, signal);
    if (isSelftest(pod)) return done;
    if (handlerOf(pod) === undefined) {
      await removePlans(podUID);
      return done;
    }
    const asked = caches.restores
      .byIndex(BY_POD_UID, podUID)
      .filter((r) => r.metadata.namespace === pod.metadata.namespace && isToArm(r, node))
      .sort(oldestFirst);
    // None of its containers needs to wait for a plan any more.
    const claimed = asked.length > 0 && pod.metadata.annotations?.[RESTORE_FROM_ANNOTATION] !== undefined;
    const here = await facts.of(caches.nodes.get(undefined, node));
    const protection = protectionOf(
      pod,
      caches.schedules.byIndex(BY_NAMESPACE, pod.metadata.namespace ?? ""),
    );
    const planned: { container: string; protection: Protection; input: PlanInput }[] = [];
    for (const container of everyContainer(pod)) {
      const own = asked.find(({ status }) => status?.containerName === container.name);
      const protectedBy = protection.get(container.name);
      const run = await readRun(layout, { podUID, container: container.name });
      if (run instanceof KcrError) {
        // The plan stays as it is: whoever knows where the run came from wrote it.
        await tellUnknown(pod, container.name, protectedBy, run);
        continue;
      }
      const input = await inputFor(pod, container, run, protectedBy, own, claimed, here, signal);
      const plan = decidePlan(input);
      const path = layout.plan({ podUID, container: container.name });
      if (plan === undefined) await rm(path, { force: true });
      else if (await writeWhole(path, `${JSON.stringify(plan, undefined, 1)}\n`)) {
        log.info(
          { podUID, pod: plan.pod, container: plan.container, candidates: plan.candidates.length },
          "plan written",
        );
      }
      if (own !== undefined && plan?.armed !== undefined) await tellArmed(own, plan.armed);
      if (protectedBy !== undefined)
        planned.push({ container: container.name, protection: protectedBy, input });
    }
    // Only once every plan is there: those need no API server.
    for (const { container, protection, input } of planned) {
      for (const one of leftOut(input)) await tellLeftOut(pod, container, protection, one);
    }
    return again(RESYNC_MS);
  };

  const inputFor = async (
    pod: Pod,
    container: PodContainer,
    run: KnownRun | undefined,
    protection: Protection | undefined,
    restore: CheckpointRestore | undefined,
    claimed: boolean,
    here: Facts,
    signal: AbortSignal,
  ): Promise<PlanInput> => {
    const lineage = run === undefined ? [] : await lineageFor(pod, container.name, run, signal);
    const checkpoint = restore && (await checkpointOf(pod, restore.spec.checkpointName, signal));
    const copies = new Set<string>();
    for (const c of checkpoint === undefined ? lineage : [checkpoint, ...lineage]) {
      const copy = copyOf(c);
      if (copy !== undefined && (await hasCopy(layout, copy))) copies.add(copy);
    }
    return {
      pod,
      container,
      run,
      protection,
      lineage,
      copies,
      facts: here,
      armed: restore && checkpoint && { id: restore.metadata.uid ?? "", checkpoint },
      claimed,
      stableSeconds: settings.restore.stableSeconds,
      perContainer: settings.local.perContainer,
    };
  };

  const tellLeftOut = (
    pod: Pod,
    container: string,
    protection: Protection,
    { checkpoint, misfits }: LeftOut,
  ): Promise<void> => {
    const message = `Checkpoint ${checkpoint.metadata.name} is left out on node ${node}: ${describeMisfits(misfits)}`;
    const error = new KcrError("NodeDiffers", message);
    return tell(
      `${pod.metadata.uid}/${container}/${checkpoint.metadata.uid}`,
      pod,
      container,
      protection,
      error,
    );
  };

  const tellUnknown = (
    pod: Pod,
    container: string,
    protection: Protection | undefined,
    error: KcrError,
  ): Promise<void> => tell(`${pod.metadata.uid}/${container}`, pod, container, protection, error);

  /** An Event on the pod and on its workload; one for a key, however often it is told. */
  const tell = async (
    key: string,
    pod: Pod,
    container: string,
    protection: Protection | undefined,
    error: KcrError,
  ): Promise<void> => {
    if (told.has(key)) return;
    const text = `container ${container}: ${error.advice}`;
    const workload = workloadOf(protection?.schedule);
    const regarding: [ObjectReference, string][] = [[objectRef(pod), text]];
    if (workload !== undefined) regarding.push([workload, `pod ${pod.metadata.name}: ${text}`]);
    for (const [object, note] of regarding) {
      await tellOnce(client, node, {
        id: `${key}/${error.code}`,
        regarding: object,
        type: "Warning",
        reason: error.code,
        action: "Restore",
        note,
        time: now(),
      });
    }
    told.add(key);
  };

  /** What it was restored from may be of another pod, and of another node. */
  const lineageFor = async (
    pod: Pod,
    container: string,
    { id, restoredFrom }: KnownRun,
    signal: AbortSignal,
  ): Promise<Checkpoint[]> => {
    const { uid: podUID = "", namespace = "" } = pod.metadata;
    const run: Run = { podUID, container, containerID: id };
    const all = caches.checkpoints.byIndex(BY_NAMESPACE, namespace);
    if (restoredFrom === undefined) return lineageOf(run, all);
    const { checkpoint: parent, containerID, takenTime } = restoredFrom;
    const known = caches.checkpoints.get(namespace, parent) !== undefined;
    const fetched = known ? undefined : await checkpointOf(pod, parent, signal);
    return lineageOf(
      { ...run, parent, parentOrigin: { containerID, takenTime } },
      fetched === undefined ? all : [...all, fetched],
    );
  };

  const checkpointOf = async (
    { metadata: { namespace } }: Pod,
    name: string,
    signal: AbortSignal,
  ): Promise<Checkpoint | undefined> =>
    caches.checkpoints.get(namespace, name) ??
    (await client.get(checkpoints, { namespace, name }, { signal }).catch(absent));

  const tellArmed = async (restore: CheckpointRestore, { candidate }: NonNullable<Plan["armed"]>) => {
    const { conditions = [] } = restore.status ?? {};
    const message = `the container's next start restores Checkpoint ${candidate.checkpoint}`;
    const next = setCondition(conditions, { type: ARMED, status: "True", reason: "Planned", message }, now());
    if (next !== conditions) await writeStatus(client, restores, restore, { conditions: next });
  };

  const removePlans = (podUID: string): Promise<void> =>
    rm(join(layout.plans, podUID), { recursive: true, force: true });

  /** Of a pod that is gone nothing stays; what the handler noted last is told before. */
  const forget = async (podUID: string, signal: AbortSignal): Promise<Outcome> => {
    const left = await Promise.all([namesIn(join(layout.plans, podUID)), namesIn(join(layout.runs, podUID))]);
    const directories = [join(layout.plans, podUID), join(layout.runs, podUID)];
    if (left.every((names) => names.length === 0)) {
      for (const directory of directories) await rm(directory, { recursive: true, force: true });
      return done;
    }
    // The cache may not know it yet; only the API server knows that there is none.
    const { items } = await client.listAll(pods, { fieldSelector: `spec.nodeName=${node}`, signal });
    if (items.some(({ metadata }) => metadata.uid === podUID)) return again(NOTES_MS);
    await removePlans(podUID);
    for (const key of told) if (key.startsWith(`${podUID}/`)) told.delete(key);
    for (const container of left[1].filter(isContainerName)) {
      if ((await namesIn(layout.notes({ podUID, container }))).some(isNote)) return again(NOTES_MS);
    }
    await forgetContainers(podUID);
    await rm(join(layout.runs, podUID), { recursive: true, force: true });
    log.info({ podUID }, "a pod is gone, and what was kept for it");
    return done;
  };

  /** Of containers that a reboot has ended the handler never hears again. */
  const forgetContainers = async (podUID: string): Promise<void> => {
    for (const id of (await namesIn(layout.ids)).filter(isContainerID)) {
      const owner = await readlink(layout.id(id)).catch(missing);
      if (!owner?.startsWith(`${podUID}/`)) continue;
      await rm(layout.work(id), { recursive: true, force: true });
      await rm(layout.id(id), { force: true });
    }
  };

  const uidsIn = (namespace: string): ObjectName[] =>
    caches.pods.byIndex(BY_NAMESPACE, namespace).filter(handlerOf).map(byUID);
  const uidsOfClass = (): string[] =>
    caches.pods.list().flatMap((pod) => (handlerOf(pod) && pod.metadata.uid) || []);

  return new Controller({
    name: "plan",
    log,
    metrics,
    workers: 4,
    backoff: { baseMs: 200, maxMs: 10_000, jitter: 0.2 },
    reconcile,
    sources: [
      changesOf(caches.pods, (pod) => [byUID(pod)]),
      changesOf(caches.schedules, ({ metadata }) => uidsIn(metadata.namespace ?? "")),
      changesOf(caches.checkpoints, ({ status }) => uid(status?.lineage?.podUID)),
      changesOf(caches.restores, ({ status }) => uid(status?.podUID)),
      runChanges(layout, log),
      planChanges(layout, log),
      copyChanges(layout, log, uidsOfClass),
    ],
  });
}

/** Also those that end before the others begin: of a pod that is to begin with a state none needs to wait. */
const everyContainer = (pod: Pod): PodContainer[] => [
  ...(pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy !== "Always"),
  ...containersOf(pod),
];

const isNote = (name: string): boolean => name.endsWith(".json");
const byUID = ({ metadata }: Pod): ObjectName => ({ name: metadata.uid ?? "" });
const uid = (podUID: string | undefined): ObjectName[] => (podUID ? [{ name: podUID }] : []);
const oldestFirst = (a: CheckpointRestore, b: CheckpointRestore): number =>
  (a.metadata.creationTimestamp ?? "") < (b.metadata.creationTimestamp ?? "") ? -1 : 1;
