import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, POISONED } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { checkpoints, restores } from "../../api/kinds.ts";
import { handlerOf, RESTORED as POD_RESTORED } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import { type PodCondition, type Report, reportCondition } from "../../api/reports.ts";
import { type CheckpointRestore, RESTORED } from "../../api/restore.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isConflict, isNotFound } from "../../kube/errors.ts";
import { noMetrics } from "../../kube/metrics.ts";
import { type ObjectReference, objectRef } from "../../kube/owner.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { absent, writeStatus } from "../../kube/write.ts";
import { namesIn, readIfThere } from "../../store/files.ts";
import { isContainerName } from "../../store/layout.ts";
import { type Failure, NOTE_VERSION, type Note, parseNote } from "../../store/notes.ts";
import { laterProtocolIn, ofLaterProtocol } from "../../store/protocol.ts";
import { BY_NAMESPACE, BY_POD_UID, BY_UID, type Context } from "../context.ts";
import { countNote } from "../observe/count.ts";
import { runChanges } from "../plan/sources.ts";
import { isSelftest, selftestName } from "../selftest/pod.ts";
import { answerTo, type Message, messagesOf, type Verdict, verdictOf } from "./decide.ts";
import { tellOnce, workloadOf } from "./event.ts";

/** One file of the handler's. */
interface Found {
  path: string;
  container: string;
  /** Undefined for what is no note of that container, or none that is known. */
  note: Note | undefined;
  /** Its protocol, if that is not known. */
  later: number | undefined;
}

/** How soon it is looked for a pod's notes, whether or not a change was heard of: a node may have no watch left. */
const RESYNC_MS = 10_000;

/**
 * Tells what the handler has done: it talks to nobody and leaves a file for each `create` that had a plan. Keyed
 * by the pod's UID.
 *
 * Flow: of a pod's notes, oldest first: the Checkpoints' counts and what is poisoned; the CheckpointRestore that
 * asked for it; Events on pod and workload; the pod's condition; then the file goes.
 * Guarantees: a note stays until all of it is told, however long the API server is away; told a second time, by
 * an agent that was killed in between, it makes no second Event and counts no second time.
 */
export function notesController(context: Context): Controller {
  const { node, client, caches, layout, log, metrics = noMetrics, now } = context;
  /** Paths of notes of a later protocol that were told of. */
  const toldLater = new Set<string>();

  const reconcile = async ({ name: podUID }: ObjectName): Promise<Outcome> => {
    const [pod] = caches.pods.byIndex(BY_UID, podUID);
    if (pod !== undefined && isSelftest(pod)) return done;
    for (const { path, note, container, later } of await notesOf(podUID)) {
      if (later !== undefined && pod !== undefined) {
        // It stays for the agent that knows it.
        await tellLater(pod, container, path, later);
        continue;
      }
      if (note === undefined) log.error({ path }, "a note of the handler cannot be read, and is dropped");
      else if (note.pod !== selftestName(node)) await tell(note, pod);
      await rm(path, { force: true });
      if (note !== undefined && note.pod !== selftestName(node)) countNote(metrics, note);
    }
    return pod !== undefined && handlerOf(pod) !== undefined ? again(RESYNC_MS) : done;
  };

  /** Oldest first. */
  const notesOf = async (podUID: string): Promise<Found[]> => {
    const found: Found[] = [];
    for (const container of (await namesIn(join(layout.runs, podUID))).filter(isContainerName)) {
      const directory = layout.notes({ podUID, container });
      for (const name of await namesIn(directory)) {
        if (!name.endsWith(".json")) continue;
        const path = join(directory, name);
        const text = await readIfThere(path);
        if (text === undefined) continue;
        const note = parseNote(text);
        const isOwn = note?.podUID === podUID && note.container === container;
        found.push({
          path,
          container,
          note: isOwn && Number.isFinite(timeOf(note)) ? note : undefined,
          later: laterProtocolIn(text, NOTE_VERSION),
        });
      }
    }
    return found.sort((a, b) => timeOf(a.note) - timeOf(b.note));
  };

  const tellLater = async (pod: Pod, container: string, path: string, later: number): Promise<void> => {
    const what = `what the handler says of container ${container}`;
    const error = new KcrError("ProtocolUnknown", ofLaterProtocol(what, later, NOTE_VERSION));
    if (toldLater.has(path)) return;
    await tellOnce(client, node, {
      id: path,
      regarding: objectRef(pod),
      type: "Warning",
      reason: error.code,
      action: "Restore",
      note: error.advice,
      time: now(),
    });
    toldLater.add(path);
  };

  const tell = async (note: Note, pod: Pod | undefined): Promise<void> => {
    if (note.type === "restored") await countRestore(note, pod);
    for (const failure of note.failed) if (failure.poisoned) await poison(note, failure, pod);
    if (note.armed !== undefined) await answer(note, note.armed);
    const workload = pod && workloadOf(protectionOf(pod, schedulesOf(pod)).get(note.container)?.schedule);
    for (const message of messagesOf(note)) {
      await tellEvent(note, podReference(note), message);
      if (workload !== undefined && message.onWorkload) {
        await tellEvent(note, workload, { ...message, text: `pod ${note.pod}: ${message.text}` });
      }
    }
    const verdict = verdictOf(note);
    if (pod !== undefined && verdict !== undefined) await writeCondition(pod, verdict);
    log.info(
      { podUID: note.podUID, pod: note.pod, container: note.container, type: note.type, cause: note.cause },
      "told what the handler did",
    );
  };

  /** By the time at which it happened: what is not newer than what was counted last is counted already. */
  const countRestore = async (
    note: Extract<Note, { type: "restored" }>,
    pod: Pod | undefined,
  ): Promise<void> => {
    const checkpoint = await checkpointOf(note, note);
    if (checkpoint === undefined) return;
    if (checkpoint.spec.nodeName !== node) {
      const message = `container ${note.container} was restored from Checkpoint ${note.checkpoint}`;
      await report(pod, { what: "restored", checkpointUID: note.checkpointUID, time: note.time, message });
      return;
    }
    const { lastRestoredTime, restoredCount = 0 } = checkpoint.status ?? {};
    if (lastRestoredTime !== undefined && Date.parse(lastRestoredTime) >= timeOf(note)) return;
    await writeStatus(client, checkpoints, checkpoint, {
      restoredCount: restoredCount + 1,
      lastRestoredTime: note.time,
    });
  };

  const poison = async (note: Note, failure: Failure, pod: Pod | undefined): Promise<void> => {
    const checkpoint = await checkpointOf(note, failure);
    if (checkpoint === undefined) return;
    const error = new KcrError("CheckpointPoisoned", failure.message);
    const condition = { type: POISONED, status: "True", reason: error.code, message: error.advice } as const;
    const conditions = setCondition(checkpoint.status?.conditions, condition, now());
    if (checkpoint.spec.nodeName !== node) {
      const { checkpointUID } = failure;
      await report(pod, { what: "poisoned", checkpointUID, time: note.time, message: error.advice });
    } else if (conditions !== checkpoint.status?.conditions) {
      await writeStatus(client, checkpoints, checkpoint, { conditions });
    }
    await tellOnce(client, node, {
      id: idOf(note),
      regarding: objectRef(checkpoint),
      type: "Warning",
      reason: error.code,
      action: "Restore",
      note: error.advice,
      time: new Date(note.time),
    });
  };

  /** Tells the operator of a Checkpoint of another node, which is not this agent's to write. */
  const report = async (pod: Pod | undefined, said: Report): Promise<void> => {
    if (pod !== undefined) await patchCondition(pod, reportCondition(said));
  };

  /** The very Checkpoint, as it is on the API server; undefined for one that is gone. */
  const checkpointOf = async (
    { namespace }: Note,
    { checkpoint: name, checkpointUID }: Pick<Failure, "checkpoint" | "checkpointUID">,
  ): Promise<Checkpoint | undefined> => {
    const checkpoint = await client.get(checkpoints, { namespace, name }).catch(absent);
    return checkpoint?.metadata.uid === checkpointUID ? checkpoint : undefined;
  };

  /** Tells the CheckpointRestore that asked for it; one that is gone is told nothing. */
  const answer = async (note: Note, armed: string): Promise<void> => {
    const isIt = ({ metadata }: CheckpointRestore): boolean =>
      metadata.uid === armed && metadata.namespace === note.namespace;
    const known = caches.restores.byIndex(BY_POD_UID, note.podUID).find(isIt);
    if (known === undefined) return;
    const restore = await client.get(restores, known.metadata).catch(absent);
    if (restore === undefined || !isIt(restore)) return;
    const conditions = setCondition(
      restore.status?.conditions,
      { type: RESTORED, ...answerTo(restore, note) },
      now(),
    );
    if (conditions !== restore.status?.conditions) {
      await writeStatus(client, restores, restore, { conditions });
    }
  };

  const schedulesOf = ({ metadata }: Pod) => caches.schedules.byIndex(BY_NAMESPACE, metadata.namespace ?? "");

  const tellEvent = (
    note: Note,
    regarding: ObjectReference,
    { type, reason, text }: Message,
  ): Promise<void> =>
    tellOnce(client, node, {
      id: idOf(note),
      regarding,
      type,
      reason,
      action: "Restore",
      note: text,
      time: new Date(note.time),
    });

  /** A pod that is gone, or of which another has taken the name, needs none. */
  const writeCondition = async (pod: Pod, verdict: Verdict): Promise<void> => {
    const old = pod.status?.conditions?.find((c) => c.type === POD_RESTORED);
    if (old?.status === verdict.status && old.reason === verdict.reason && old.message === verdict.message)
      return;
    const lastTransitionTime =
      (old?.status === verdict.status ? old.lastTransitionTime : undefined) ?? now().toISOString();
    await patchCondition(pod, { type: POD_RESTORED, ...verdict, lastTransitionTime });
  };

  const patchCondition = async (pod: Pod, condition: PodCondition): Promise<void> => {
    await client
      .patch(
        pods,
        pod.metadata,
        {
          type: "strategic",
          body: { metadata: { uid: pod.metadata.uid }, status: { conditions: [condition] } },
        },
        { subresource: "status" },
      )
      .catch((error: unknown) => {
        if (!isNotFound(error) && !isConflict(error)) throw error;
      });
  };

  return new Controller({
    name: "notes",
    log,
    metrics,
    workers: 4,
    backoff: { baseMs: 500, maxMs: 10_000, jitter: 0.2 },
    reconcile,
    // The caches' first picture must be there, or a pod's workload would not be known.
    sources: [
      runChanges(layout, log),
      // Of a self-test's pod too: what it left is nobody's once it is gone.
      changesOf(caches.pods, (pod) =>
        isSelftest(pod) || handlerOf(pod) ? [{ name: pod.metadata.uid ?? "" }] : [],
      ),
      changesOf(caches.schedules, () => []),
      changesOf(caches.restores, () => []),
    ],
  });
}

const timeOf = (note: Note | undefined): number => Date.parse(note?.time ?? "");
const idOf = ({ podUID, container, containerID, time }: Note): string =>
  [podUID, container, containerID, time].join("/");

const podReference = ({ namespace, pod: name, podUID: uid }: Note): ObjectReference => ({
  apiVersion: "v1",
  kind: pods.kind,
  namespace,
  name,
  uid,
});
