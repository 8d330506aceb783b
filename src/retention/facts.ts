import { type Checkpoint, LINEAGE_LOST } from "../api/checkpoint.ts";
import { findCondition, isTrue } from "../api/conditions.ts";
import type { CheckpointDownload } from "../api/download.ts";
import { isGood, isPoisoned, isTerminal } from "../api/kinds.ts";
import {
  LABEL_POD,
  LABEL_WORKLOAD,
  PINNED_ANNOTATION,
  RELEASED_ANNOTATION,
  RESTORE_FROM_ANNOTATION,
} from "../api/labels.ts";
import { lineageOf } from "../api/lineage.ts";
import { labelValue } from "../api/names.ts";
import { type ContainerStatus, containersOf, runtimeID, statusOf } from "../api/pod.ts";
import { readRecords } from "../api/records.ts";
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

/** So long the last of a lost state is kept for somebody to notice, in milliseconds. */
export const LOST_MS = 7 * 24 * 3_600_000;
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
 * What is never removed, whatever a policy says:
 *
 * - what is pinned, used by a restore or a download, or that a pod runs from or is to begin with;
 * - of each container of a pod that exists: the two newest sound Checkpoints that it could go back to, the newest of
 *   all of it, and the one it was restored from last. Two, for the newest may be of a program that hangs already;
 * - of each state that was lost (its container began afresh, or its pod is gone): the newest sound one, for seven days
 *   or until a person releases it. Of pods that are gone as many of a workload as it has pods, one at least;
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
  const byName = new Map(all.map((checkpoint) => [checkpoint.metadata.name, checkpoint]));

  for (const checkpoint of all) {
    const doubt = doubtAbout(checkpoint);
    if (doubt !== undefined) protect(checkpoint, doubt);
    if (checkpoint.metadata.annotations?.[PINNED_ANNOTATION] === "true") protect(checkpoint, "it is pinned");
  }
  for (const [name, reason] of usesOf(around)) protect(byName.get(name), reason);
  const images = new Map(all.flatMap((c) => (c.status?.runtimeImage ? [[c.status.runtimeImage, c]] : [])));
  for (const pod of pods) {
    for (const { image = "" } of containersOf(pod)) {
      protect(images.get(image), `pod ${pod.metadata.name} has its image`);
    }
  }

  const links = pods.flatMap((pod) => linksOf(pod, all));
  const trees = treesOf(all, links);
  const alive = new Set(pods.flatMap((pod) => runsOf(pod).map((id) => trees.of(id))));
  const treeOf = (checkpoint: Checkpoint): string => trees.of(checkpoint.status?.lineage?.containerID ?? "");
  const known = all.filter((checkpoint) => doubtAbout(checkpoint) === undefined);
  const livePods = new Map(pods.map((pod) => [pod.metadata.uid ?? "", pod]));
  const ofRuns = Map.groupBy(known, (c) => `${c.status?.lineage?.podUID}/${c.spec.containerName}`);
  /** The newest sound one of each lost tree of pods that are gone, by workload and container. */
  const gone = new Map<string, Checkpoint[]>();

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
      const candidates = lineageOf(run, all).filter(isSound);
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
        const key = `${workloadOf(candidate)}/${container}`;
        gone.set(key, [...(gone.get(key) ?? []), candidate]);
      }
    }
  }

  for (const candidates of gone.values()) {
    const workload = workloadOf(candidates[0]!);
    const replicas = pods.filter((pod) => workloadOfPod(pod) === workload).length;
    for (const candidate of candidates.sort(newestFirst).slice(0, Math.max(1, replicas))) {
      protect(candidate, "it is the last of a pod that is gone");
    }
  }
  return { why, marks };
}

/** Why nothing is decided about it; undefined for one that says all of itself. */
function doubtAbout({ spec, status }: Checkpoint): string | undefined {
  if (Number.isNaN(Date.parse(spec.checkpointTimestamp))) return "it does not say when it was taken";
  const lineage = status?.lineage;
  if (lineage === undefined || lineage.podUID === "" || lineage.containerID === "") {
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
    for (const { parent, restore } of Object.values(readRecords(pod))) {
      if (restore?.checkpoint !== undefined)
        uses.push([restore.checkpoint, `pod ${name} is being restored from it`]);
      if (parent !== undefined) uses.push([parent, `pod ${name} runs from it`]);
    }
  }
  return uses;
}

/** Runs of a pod that are known to come from others, before there is a Checkpoint of them that says so. */
function linksOf(pod: Pod, all: readonly Checkpoint[]): [string, string][] {
  const links: [string, string][] = [];
  const records = readRecords(pod);
  const from = pod.metadata.annotations?.[RESTORE_FROM_ANNOTATION];
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
    for (const checkpoint of all) {
      const { lineage, lastRestoredTime } = checkpoint.status ?? {};
      const isNamesake = checkpoint.spec.containerName === name;
      const isOwn = lineage?.podUID === pod.metadata.uid && isNamesake;
      if (lineage && isNamesake && checkpoint.metadata.name === from) links.push([id, lineage.containerID]);
      if (isOwn && Math.abs(Date.parse(lastRestoredTime ?? "") - began) <= SETTLED_MS && lineage) {
        links.push([id, lineage.containerID]);
      }
    }
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
