import { type Checkpoint, LINEAGE_LOST } from "../api/checkpoint.ts";
import { findCondition, isTrue } from "../api/conditions.ts";
import type { CheckpointDownload } from "../api/download.ts";
import { isGood, isPoisoned, isTerminal } from "../api/kinds.ts";
import {
  LABEL_POD,
  LABEL_WORKLOAD,
  PINNED_ANNOTATION,
  RECORD_ANNOTATION,
  RELEASED_ANNOTATION,
  RESTORE_FROM_ANNOTATION,
} from "../api/labels.ts";
import { indexLineages, lineageOf } from "../api/lineage.ts";
import { labelValue } from "../api/names.ts";
import { type ContainerStatus, containersOf, runtimeID, statusOf } from "../api/pod.ts";
import { laterRecord, readRecords } from "../api/records.ts";
import type { CheckpointRestore } from "../api/restore.ts";
import { workloadOfPod } from "../api/workload.ts";
import type { Pod } from "../kube/resources.ts";
import { treesOf } from "./trees.ts";

/** What there is in one namespace. */
export interface Surroundings {
  checkpoints: readonly Checkpoint[];
  pods: readonly Pod[];
  restores: readonly CheckpointRestore[];
  downloads: readonly CheckpointDownload[];
  now: Date;
}

/** What is learned of a tree of Checkpoints, to be written on each of them (condition LineageLost). */
export interface Mark {
  checkpoint: Checkpoint;
  status: "True" | "False";
  reason: "FreshStart" | "PodGone" | "Ended" | "Alive";
}

/** What must stay whatever is said, by UID and with why; and what was learned on the way. */
export interface Protected {
  why: ReadonlyMap<string, string>;
  marks: readonly Mark[];
}

/** The label that a StatefulSet gives its pods. Source: apps/v1, StatefulSetPodNameLabel. */
const STATEFUL_POD = "statefulset.kubernetes.io/pod-name";

/** So long the last of a lost state is kept for somebody to notice, in milliseconds. */
export const LOST_MS = 7 * 24 * 3_600_000;
/** Pods whose last Checkpoints lie no further apart went together: a workload that was scaled down, or replaced. */
const TOGETHER_MS = 3_600_000;
/** So much later than now a Checkpoint may have been taken, by a clock that is ahead, in milliseconds. */
const AHEAD_MS = 300_000;
/** Until then it may not be written down yet what a new run was restored from, in milliseconds. */
const SETTLED_MS = 120_000;

/** Good, and not known to crash: what could be gone back to. */
export const isSound = (checkpoint: Checkpoint): boolean => isGood(checkpoint) && !isPoisoned(checkpoint);

const takenAt = ({ spec }: Checkpoint): number => Date.parse(spec.checkpointTimestamp);
/** Of two of the same instant always the same one comes first. */
export const newestFirst = (a: Checkpoint, b: Checkpoint): number =>
  takenAt(b) - takenAt(a) || (a.metadata.name < b.metadata.name ? 1 : -1);

export const podOf = ({ metadata }: Checkpoint): string => metadata.labels?.[LABEL_POD] ?? "";
/** As recorded when it was taken; of older ones that were taken for a schedule, as that is named. */
export const workloadOf = (checkpoint: Checkpoint): string =>
  checkpoint.metadata.labels?.[LABEL_WORKLOAD] ??
  checkpoint.spec.checkpointScheduleRef?.name ??
  `pod ${podOf(checkpoint)}`;

/**
 * The name of its pod where there will be a pod of that name again, which goes on from there; empty where pods' names
 * are nothing to go by. Of a Checkpoint that does not tell of its workload nobody knows which it is.
 */
export const namedAgain = (checkpoint: Checkpoint): string =>
  checkpoint.metadata.labels?.[STATEFUL_POD] !== undefined ||
  checkpoint.metadata.labels?.[LABEL_WORKLOAD] === undefined
    ? podOf(checkpoint)
    : "";

/**
 * What is never removed, whatever a policy says:
 *
 * - what is pinned, used by a restore or a download, or that a pod runs from or is to begin with;
 * - of each container of a pod that exists: the two newest sound Checkpoints that it could go back to, the newest of
 *   all of it, and the one it was restored from last. Two, for the newest may be of a program that hangs already;
 * - of each state that was lost (its container began afresh, or its pod is gone): the newest sound one, for seven days
 *   or until a person releases it. Of pods that are gone those of as many as the workload has pods, and of all that went
 *   together with the last one; of pods whose names come back, as a StatefulSet's do, those of each name;
 * - what is not finished, or does not say whose it is.
 */
export function protectedOf(around: Surroundings): Protected {
  const { pods, now } = around;
  const all = around.checkpoints.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const why = new Map<string, string>();
  const marks: Mark[] = [];
  const protect = (checkpoint: Checkpoint | undefined, reason: string): void => {
    const uid = checkpoint?.metadata.uid ?? "";
    if (checkpoint !== undefined && !why.has(uid)) why.set(uid, reason);
  };
  const index = indexLineages(all);
  const { byName } = index;

  const known: Checkpoint[] = [];
  for (const checkpoint of all) {
    const doubt = doubtAbout(checkpoint, now);
    if (doubt !== undefined) protect(checkpoint, doubt);
    else known.push(checkpoint);
    if ((checkpoint.metadata.annotations?.[PINNED_ANNOTATION] ?? "false") !== "false")
      protect(checkpoint, "it is pinned");
  }
  for (const [name, reason] of usesOf(around)) protect(byName.get(name), reason);
  const images = new Map(all.flatMap((c) => (c.status?.runtimeImage ? [[c.status.runtimeImage, c]] : [])));
  for (const pod of pods) {
    for (const { image = "" } of containersOf(pod)) {
      protect(images.get(image), `pod ${pod.metadata.name} has its image`);
    }
  }

  const byPod = Map.groupBy(all, ({ status }) => status?.lineage?.podUID ?? "");
  const links = pods.flatMap((pod) => linksOf(pod, byPod.get(pod.metadata.uid ?? "") ?? [], byName));
  const trees = treesOf(all, links);
  const alive = new Set(pods.flatMap((pod) => runsOf(pod).map((id) => trees.of(id))));
  const treeOf = (checkpoint: Checkpoint): string => trees.of(checkpoint.status?.lineage?.containerID ?? "");
  const livePods = new Map(pods.map((pod) => [pod.metadata.uid ?? "", pod]));
  const ofRuns = Map.groupBy(known, (c) => `${c.status?.lineage?.podUID}/${c.spec.containerName}`);
  /** The newest sound one of each lost tree of pods that are gone, by workload and container. */
  const gone = new Map<string, Checkpoint[]>();

  const doubtful = new Set(all).difference(new Set(known));
  const isKnown = (checkpoint: Checkpoint): boolean => isSound(checkpoint) && !doubtful.has(checkpoint);

  for (const own of ofRuns.values()) {
    own.sort(newestFirst);
    const [first] = own;
    const pod = livePods.get(first?.status?.lineage?.podUID ?? "");
    const container = first?.spec.containerName ?? "";
    const status = pod && statusOf(pod, container);
    const id = runtimeID(status?.containerID);
    if (pod !== undefined) {
      const sound = own.filter(isSound);
      protect(sound[0], `it is the newest good one of pod ${pod.metadata.name}`);
      const record = readRecords(pod)[container];
      const { parent, parentOrigin } = record ?? {};
      const run = { podUID: pod.metadata.uid ?? "", container, containerID: id ?? "", parent, parentOrigin };
      const candidates = lineageOf(run, index).filter(isKnown);
      const reachable = candidates.length > 0 ? candidates : sound;
      protect(reachable[0], `pod ${pod.metadata.name} would be restored from it`);
      protect(reachable[1] ?? sound[1], "it is the newest good one but one");
      const last = own
        .filter(({ status: of }) => of?.lastRestoredTime !== undefined)
        .sort(lastRestoredFirst)[0];
      protect(last, `pod ${pod.metadata.name} was restored from it`);
    }
    for (const [tree, members] of Map.groupBy(own, treeOf)) {
      // Of a pod whose container tells of no run nothing is known.
      const isAlive = alive.has(tree) || (pod !== undefined && id === undefined);
      const isEnded = () => trees.of(endedRun(status) ?? "") === tree;
      const fate = fateOf(members, isAlive ? "alive" : seenOf(status, isEnded, now));
      marks.push(...fate.marks);
      const candidate = members.find(isSound);
      const isLost = fate.isLost && !isExpired(members, now) && !members.some(isReleased);
      if (!isLost || candidate === undefined) continue;
      if (pod !== undefined) protect(candidate, "it is the last of a state that was lost");
      else {
        const key = `${workloadOf(candidate)}/${namedAgain(candidate)}/${container}`;
        gone.set(key, [...(gone.get(key) ?? []), candidate]);
      }
    }
  }

  const podsOf = Map.groupBy(pods, workloadOfPod);
  for (const candidates of gone.values()) {
    const [newest] = candidates.sort(newestFirst);
    const replicas = podsOf.get(workloadOf(newest!))?.length ?? 0;
    candidates.forEach((candidate, i) => {
      const isOfTheLast = takenAt(newest!) - takenAt(candidate) <= TOGETHER_MS;
      if (i < replicas || isOfTheLast) protect(candidate, "it is the last of a pod that is gone");
    });
  }
  return { why, marks };
}

/** Why nothing is decided about it; undefined for one that says all of itself. */
export function doubtAbout(checkpoint: Checkpoint, now: Date): string | undefined {
  const { status } = checkpoint;
  const taken = takenAt(checkpoint);
  if (Number.isNaN(taken)) return "it does not say when it was taken";
  // Else it would be the newest, and push all of now out.
  if (taken > now.getTime() + AHEAD_MS) return "it was taken in the future";
  const lineage = status?.lineage;
  if (!lineage?.podUID || !lineage.containerID || podOf(checkpoint) === "") {
    return "it does not say whose it is";
  }
  const isOver = status?.phase === "Failed" || findCondition(status?.conditions, "Restorable") !== undefined;
  return isOver ? undefined : "it is not finished";
}

/** Names of Checkpoints that somebody uses, and who. */
function usesOf({ pods, restores, downloads }: Surroundings): [name: string, why: string][] {
  const uses: [string, string][] = [];
  for (const restore of restores) {
    if (isTerminal(restore)) continue;
    const why = `CheckpointRestore ${restore.metadata.name} uses it`;
    uses.push([restore.spec.checkpointName, why]);
    if (restore.status?.savedCheckpoint !== undefined) uses.push([restore.status.savedCheckpoint, why]);
  }
  for (const { metadata, spec, status } of downloads) {
    if (status?.phase !== "Failed") {
      uses.push([spec.checkpointName, `CheckpointDownload ${metadata.name} uses it`]);
    }
  }
  for (const pod of pods) {
    const { name, annotations } = pod.metadata;
    const from = annotations?.[RESTORE_FROM_ANNOTATION];
    if (from !== undefined) uses.push([from, `pod ${name} begins with it`]);
    if (laterRecord(pod) !== undefined) {
      // Whatever a later version means by it.
      for (const [, text = ""] of annotations?.[RECORD_ANNOTATION]?.matchAll(/"([^"]+)"/g) ?? []) {
        uses.push([text, `pod ${name} has a record of a later version that names it`]);
      }
    }
    for (const { parent, restore } of Object.values(readRecords(pod))) {
      if (restore?.checkpoint !== undefined)
        uses.push([restore.checkpoint, `pod ${name} is being restored from it`]);
      if (parent !== undefined) uses.push([parent, `pod ${name} runs from it`]);
    }
  }
  return uses;
}

/** Runs of a pod that are known to come from others, before there is a Checkpoint of them that says so. */
function linksOf(
  pod: Pod,
  own: readonly Checkpoint[],
  byName: ReadonlyMap<string, Checkpoint>,
): [string, string][] {
  const links: [string, string][] = [];
  const records = readRecords(pod);
  const from = byName.get(pod.metadata.annotations?.[RESTORE_FROM_ANNOTATION] ?? "");
  for (const { name } of containersOf(pod)) {
    const status = statusOf(pod, name);
    const id = runtimeID(status?.containerID);
    if (id === undefined) continue;
    const record = records[name];
    if (record?.parentOrigin !== undefined && record.containerID === id) {
      links.push([id, record.parentOrigin.containerID]);
    }
    // The handler's word: the Checkpoint was restored about when this run began.
    const began = Date.parse(status?.state?.running?.startedAt ?? "");
    for (const { spec, status } of own) {
      const { lineage, lastRestoredTime } = status ?? {};
      const isThen = Math.abs(Date.parse(lastRestoredTime ?? "") - began) <= SETTLED_MS;
      if (lineage && spec.containerName === name && isThen) links.push([id, lineage.containerID]);
    }
    const origin = from?.spec.containerName === name ? from.status?.lineage?.containerID : undefined;
    if (origin) links.push([id, origin]);
  }
  return links;
}

const lastRestoredFirst = (a: Checkpoint, b: Checkpoint): number =>
  Date.parse(b.status?.lastRestoredTime ?? "") - Date.parse(a.status?.lastRestoredTime ?? "") ||
  newestFirst(a, b);

/** What is seen of a tree now: `unsure` while it may still turn out that its container goes on from it. */
type Seen = "alive" | "unsure" | "ended" | "lost" | "gone";

/** Of a tree that no container goes on from, by the status of its own container, if that is there. */
function seenOf(status: ContainerStatus | undefined, isEnded: () => boolean, now: Date): Seen {
  if (status === undefined) return "gone";
  const began = Date.parse(status.state?.running?.startedAt ?? now.toISOString());
  if (now.getTime() - began < SETTLED_MS) return "unsure";
  return isEnded() ? "ended" : "lost";
}

/** The run before this one, if it ended by its own will. */
function endedRun(status: ContainerStatus | undefined): string | undefined {
  const ended = status?.lastState?.terminated;
  return ended?.exitCode === 0 ? runtimeID(ended.containerID) : undefined;
}

/** The runs of a pod's containers, by the runtime's IDs. */
const runsOf = (pod: Pod): string[] =>
  containersOf(pod).flatMap(({ name }) => runtimeID(statusOf(pod, name)?.containerID) ?? []);

/** Whether a tree counts as lost, and what its Checkpoints do not say of that yet. */
function fateOf(members: readonly Checkpoint[], seen: Seen): { isLost: boolean; marks: Mark[] } {
  const told = members.flatMap(({ status }) => findCondition(status?.conditions, LINEAGE_LOST) ?? []);
  const mark = (status: Mark["status"], reason: Mark["reason"]): Mark[] =>
    members
      .filter((c) => findCondition(c.status?.conditions, LINEAGE_LOST)?.status !== status)
      .map((checkpoint) => ({ checkpoint, status, reason }));
  // What was lost and is lived on from is lost no more.
  if (seen === "alive") return { isLost: false, marks: told.length > 0 ? mark("False", "Alive") : [] };
  const isOver = told.some(({ reason }) => reason === "Ended") || (seen === "ended" && told.length === 0);
  if (isOver) return { isLost: false, marks: mark("False", "Ended") };
  if (seen === "unsure") return { isLost: true, marks: [] };
  return { isLost: true, marks: mark("True", seen === "gone" ? "PodGone" : "FreshStart") };
}

/** By the oldest word of it: what is said later of others of the tree does not prolong it. */
function isExpired(members: readonly Checkpoint[], now: Date): boolean {
  return members.some(({ status }) => {
    if (!isTrue(status?.conditions, LINEAGE_LOST)) return false;
    const since = Date.parse(findCondition(status?.conditions, LINEAGE_LOST)?.lastTransitionTime ?? "");
    return now.getTime() - since >= LOST_MS;
  });
}

const isReleased = ({ metadata }: Checkpoint): boolean =>
  metadata.annotations?.[RELEASED_ANNOTATION] === "true";

/** Whether a pod of that Checkpoint's pod's name exists. */
export const podNames = (pods: readonly Pod[]): ReadonlySet<string> =>
  new Set(pods.map(({ metadata }) => labelValue(metadata.name)));
