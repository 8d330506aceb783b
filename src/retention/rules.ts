import type { Checkpoint } from "../api/checkpoint.ts";
import { KEEP_LAST_ANNOTATION, MAX_AGE_ANNOTATION } from "../api/labels.ts";
import type { CheckpointRequest } from "../api/request.ts";
import type { CheckpointRetention, ClusterCheckpointRetention, RetentionRules } from "../api/retention.ts";
import type { CheckpointSchedule } from "../api/schedule.ts";
import { matches } from "../api/selector.ts";
import { parseDuration } from "../kube/duration.ts";
import { parseQuantity } from "../kube/quantity.ts";

/**
 * Who says something. Several may about one Checkpoint, and all that they say holds: keeps unite, limits all hold, and a
 * limit holds over a keep. Only defaults give way: to whatever anything narrower says on the same question.
 */
export type Level = "built-in" | "default" | "namespace" | "ceiling";

/** What one place says on one question. */
export type Question =
  | { type: "keep"; last: number; hourly: number; daily: number; weekly: number }
  | { type: "count"; max: number }
  | { type: "age"; maxMs: number }
  | { type: "total"; maxBytes: number }
  | { type: "size"; maxBytes: number }
  | { type: "orphan" };

export type Per = NonNullable<RetentionRules["per"]>;

export interface Rule {
  /** Where it stands, as a person finds it: `CheckpointRetention/nightly`. */
  policy: string;
  level: Level;
  per: Per;
  question: Question;
  /** It is about no other than those of the schedule of that name, or those that the object of that UID owns. */
  only?: { schedule: string } | { owner: string };
  /** Whether it is about that Checkpoint, whatever others say. */
  selects(checkpoint: Checkpoint): boolean;
}

/** What is said of one namespace. */
export interface Sources {
  /** Labels of the namespace; undefined when they are not known: what selects by them does not hold then. */
  namespaceLabels: Readonly<Record<string, string>> | undefined;
  clusterRetentions: readonly ClusterCheckpointRetention[];
  retentions: readonly CheckpointRetention[];
  schedules: readonly CheckpointSchedule[];
  requests: readonly CheckpointRequest[];
  /** What holds for checkpoints of schedules where nobody says anything. */
  builtIn: RetentionRules;
}

export const nameOfPolicy = ({ metadata }: CheckpointRetention | ClusterCheckpointRetention): string =>
  `${metadata.namespace === undefined ? "Cluster" : ""}CheckpointRetention/${metadata.name}`;

/** All that is said, question by question. What cannot be read says nothing: on doubt a Checkpoint stays. */
export function rulesOf(sources: Sources): Rule[] {
  const { namespaceLabels, clusterRetentions, retentions, schedules, requests, builtIn } = sources;
  const rules: Rule[] = [];
  const add = (
    policy: string,
    level: Level,
    said: RetentionRules,
    selects: Rule["selects"],
    only?: Rule["only"],
  ): void => {
    for (const question of questionsOf(said)) {
      const rule = { policy, level, per: said.per ?? "Container", question, selects };
      rules.push(only === undefined ? rule : { ...rule, only });
    }
  };
  const byName = new Map(schedules.map((schedule) => [schedule.metadata.name, schedule]));
  /** What its schedule was to leave behind is a person's, once that is gone: no default is about it. */
  const isScheduled = (checkpoint: Checkpoint): boolean => {
    const { name } = checkpoint.spec.checkpointScheduleRef ?? {};
    if (name === undefined) return false;
    const schedule = byName.get(name);
    const isOwned = (checkpoint.metadata.ownerReferences ?? []).length > 0;
    return isOwned || (schedule !== undefined && isOfSchedule(checkpoint, schedule));
  };
  add("kcr's settings", "built-in", builtIn, isScheduled);
  for (const policy of clusterRetentions) {
    const { namespaceSelector, defaults, ceilings } = policy.spec;
    const isHere =
      namespaceSelector === undefined ||
      (namespaceLabels !== undefined && matches(namespaceSelector, namespaceLabels));
    if (!isHere) continue;
    if (defaults !== undefined) add(nameOfPolicy(policy), "default", defaults, isScheduled);
    if (ceilings !== undefined) add(nameOfPolicy(policy), "ceiling", ceilings, () => true);
  }
  for (const policy of retentions) {
    const { selector } = policy.spec;
    const selects = ({ metadata }: Checkpoint) =>
      selector === undefined || matches(selector, metadata.labels);
    add(nameOfPolicy(policy), "namespace", policy.spec, selects);
  }
  for (const schedule of schedules) {
    const { metadata, spec } = schedule;
    const selects = (checkpoint: Checkpoint) => isOfSchedule(checkpoint, schedule);
    const name = `CheckpointSchedule/${metadata.name}`;
    const only = { schedule: metadata.name };
    if (spec.retention !== undefined) add(name, "namespace", spec.retention, selects, only);
    const annotated = readAnnotations(metadata.annotations);
    if (annotated.rules !== undefined) {
      add(`${name} (annotations)`, "namespace", annotated.rules, selects, only);
    }
  }
  for (const { metadata, spec } of requests) {
    if (spec.ttl === undefined) continue;
    const owns = (checkpoint: Checkpoint) =>
      checkpoint.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid) ?? false;
    add(`CheckpointRequest/${metadata.name}`, "namespace", { maxAge: spec.ttl }, owns, {
      owner: metadata.uid ?? "",
    });
  }
  return rules;
}

const isOfSchedule = ({ spec }: Checkpoint, { metadata }: CheckpointSchedule): boolean => {
  const { name, uid } = spec.checkpointScheduleRef ?? {};
  return name === metadata.name && (uid === undefined || uid === metadata.uid);
};

/** The questions that a place answers. */
function questionsOf(said: RetentionRules): Question[] {
  const { keepLast, keepHourly, keepDaily, keepWeekly } = said;
  const { maxCount, maxAge, maxTotalSize, maxCheckpointSize, retainOrphan } = said;
  const questions: Question[] = [];
  if ([keepLast, keepHourly, keepDaily, keepWeekly].some((keep) => keep !== undefined)) {
    questions.push({
      type: "keep",
      last: keepLast ?? 0,
      hourly: keepHourly ?? 0,
      daily: keepDaily ?? 0,
      weekly: keepWeekly ?? 0,
    });
  }
  if (maxCount !== undefined) questions.push({ type: "count", max: maxCount });
  const maxMs = understood(maxAge, parseDuration);
  if (maxMs !== undefined) questions.push({ type: "age", maxMs });
  const total = understood(maxTotalSize, (text) => parseQuantity(String(text)));
  if (total !== undefined) questions.push({ type: "total", maxBytes: total });
  const size = understood(maxCheckpointSize, (text) => parseQuantity(String(text)));
  if (size !== undefined) questions.push({ type: "size", maxBytes: size });
  if (retainOrphan === false) questions.push({ type: "orphan" });
  return questions;
}

function understood<T>(value: T | undefined, read: (value: T) => number): number | undefined {
  if (value === undefined) return undefined;
  try {
    return read(value);
  } catch {
    return undefined;
  }
}

/** How many, how old, how much: defaults give way to what anything narrower says on the same of these. */
export const topicOf = ({ type }: Question): string => (type === "keep" ? "count" : type);

/** What annotations of a workload or schedule say; `refused` says why one of them cannot be meant. */
export function readAnnotations(annotations: Readonly<Record<string, string>> = {}): {
  rules?: RetentionRules;
  refused?: string;
} {
  const keepLast = annotations[KEEP_LAST_ANNOTATION];
  const maxAge = annotations[MAX_AGE_ANNOTATION];
  const refused: string[] = [];
  const rules: RetentionRules = {};
  if (keepLast !== undefined) {
    if (/^[1-9][0-9]{0,4}$/.test(keepLast)) rules.keepLast = Number(keepLast);
    else refused.push(`${KEEP_LAST_ANNOTATION}: ${JSON.stringify(keepLast)} is no number from 1 to 99999`);
  }
  if (maxAge !== undefined) {
    if ((understood(maxAge, parseDuration) ?? 0) > 0) rules.maxAge = maxAge;
    else refused.push(`${MAX_AGE_ANNOTATION}: ${JSON.stringify(maxAge)} is no duration such as 720h`);
  }
  return {
    ...(Object.keys(rules).length > 0 ? { rules } : {}),
    ...(refused.length > 0 ? { refused: refused.join("; ") } : {}),
  };
}
