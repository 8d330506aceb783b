import { type Checkpoint, LINEAGE_LOST } from "../api/checkpoint.ts";
import { findCondition } from "../api/conditions.ts";
import {
  doubtAbout,
  isSound,
  LOST_MS,
  type Mark,
  namedAgain,
  newestFirst,
  podNames,
  podOf,
  protectedOf,
  type Surroundings,
  workloadOf,
} from "./facts.ts";
import { type Level, type Per, type Question, type Rule, topicOf } from "./rules.ts";

export interface RetentionInput extends Surroundings {
  rules: readonly Rule[];
  /** Nodes that are short of disk: what lies there goes first. */
  pressed?: ReadonlySet<string>;
}

/** A Checkpoint that goes, and why. */
export interface Removal {
  checkpoint: Checkpoint;
  why: string;
  /** The policy that says so, and which kind of rule of it. */
  policy: string;
  by: Question["type"];
  bytes: number;
}

/** A Checkpoint that a policy would let go, and that stays all the same. */
export interface Spared {
  checkpoint: Checkpoint;
  /** Why it stays. */
  why: string;
  policy: string;
}

export interface RetentionPlan {
  /** In the order in which they go. */
  removals: Removal[];
  spared: Spared[];
  /** How many, and how many bytes, each policy is about. */
  matched: ReadonlyMap<string, { count: number; bytes: number }>;
  marks: readonly Mark[];
  /** When time alone may change the plan next; undefined: never. */
  nextChange: Date | undefined;
}

/** A rule, and the Checkpoints that it holds for by who else says something. */
interface Held {
  rule: Rule;
  members: Checkpoint[];
}

/**
 * Which Checkpoints of a namespace go, and why. Pure: the same input always gives the same plan, in whatever order
 * its parts come.
 *
 * Guarantees: nothing of {@link protectedOf} goes; what goes is named by a rule; and of what goes for a number or a sum
 * of bytes nothing could stay without exceeding one.
 * Assumptions: the input is all that there is: whoever has not seen all of it does not ask.
 */
export function decideRetention(input: RetentionInput): RetentionPlan {
  const { now, rules, pods, pressed = new Set<string>() } = input;
  const all = input.checkpoints.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const { why: isProtected, marks } = protectedOf(input);
  const names = podNames(pods);
  const isAlive = (checkpoint: Checkpoint): boolean => names.has(podOf(checkpoint));
  const groupOf = (checkpoint: Checkpoint, per: Per): string => keyOf(checkpoint, per, isAlive(checkpoint));
  const { held, selected } = heldOf(rules, all);

  const goes = new Map<string, Omit<Removal, "checkpoint" | "bytes">>();
  const go = (checkpoint: Checkpoint, why: string, { policy, question }: Rule): void => {
    const uid = uidOf(checkpoint);
    if (!goes.has(uid)) goes.set(uid, { why, policy, by: question.type });
  };

  // Who is kept by anybody's keep stays as far as numbers go.
  const kept = new Set<string>();
  const keeps = held.filter(({ rule }) => rule.question.type === "keep");
  for (const { rule, members } of keeps) {
    for (const group of groups(members, (c) => groupOf(c, rule.per))) {
      for (const uid of keptOf(group, rule.question as Keep, now)) kept.add(uid);
    }
  }
  for (const { rule, members } of keeps) {
    for (const c of members) if (!kept.has(uidOf(c))) go(c, "no rule keeps it", rule);
  }
  for (const { rule, members } of held) {
    const { question } = rule;
    for (const c of members) {
      if (question.type === "age" && ageOf(c, now) > question.maxMs) {
        go(c, `it is older than ${hours(question.maxMs)}`, rule);
      }
      if (question.type === "size" && bytesOf(c) > question.maxBytes) {
        go(c, `it has more than ${question.maxBytes} bytes`, rule);
      }
      if (question.type === "orphan" && !isAlive(c)) go(c, "its pod is gone", rule);
    }
  }

  // Numbers and sums: what is protected has its place, then the best and newest that still fit.
  const tallies = talliesOf(held, groupOf);
  const stays = all.filter((c) => isProtected.has(uidOf(c)));
  for (const c of stays) for (const tally of tallies.of(c)) tally.take(c);
  const rest = all.filter((c) => !isProtected.has(uidOf(c)) && !goes.has(uidOf(c))).sort(bestFirst);
  for (const c of rest) {
    const own = tallies.of(c);
    const full = own.find((tally) => !tally.hasRoom(c));
    if (full === undefined) for (const tally of own) tally.take(c);
    else go(c, full.why, full.rule);
  }

  const removals: Removal[] = [];
  const spared: Spared[] = [];
  for (const checkpoint of all) {
    const reason = goes.get(uidOf(checkpoint));
    const protection = isProtected.get(uidOf(checkpoint));
    if (reason === undefined) continue;
    if (protection !== undefined) spared.push({ checkpoint, why: protection, policy: reason.policy });
    else removals.push({ checkpoint, ...reason, bytes: bytesOf(checkpoint) });
  }
  const isPressed = ({ checkpoint: { spec } }: Removal): number => Number(pressed.has(spec.nodeName));
  removals.sort((a, b) => isPressed(b) - isPressed(a) || newestFirst(b.checkpoint, a.checkpoint));
  spared.sort((a, b) => newestFirst(b.checkpoint, a.checkpoint));
  return { removals, spared, matched: matchedOf(selected), marks, nextChange: nextChange(held, all, now) };
}

type Keep = Extract<Question, { type: "keep" }>;

const uidOf = ({ metadata }: Checkpoint): string => metadata.uid ?? "";
export const bytesOf = ({ status }: Checkpoint): number => status?.sizeBytes ?? 0;
const takenAt = ({ spec }: Checkpoint): number => Date.parse(spec.checkpointTimestamp);
const ageOf = (checkpoint: Checkpoint, now: Date): number => now.getTime() - takenAt(checkpoint);
const hours = (ms: number): string => (ms % HOUR_MS === 0 ? `${ms / HOUR_MS}h` : `${ms / 1000}s`);
/** What could be restored from before what could not. */
const bestFirst = (a: Checkpoint, b: Checkpoint): number =>
  Number(isSound(b)) - Number(isSound(a)) || newestFirst(a, b);

const HOUR_MS = 3_600_000;
/** ECMA-262, time values. */
const LAST_DATE = 8.64e15;
const DAY_MS = 24 * HOUR_MS;
/** 1 January 1970 was a Thursday. */
const MONDAY_MS = 3 * DAY_MS;

/** Pods that are gone and whose names do not come back count together: else each rollout would leave what nothing ever takes away. */
function keyOf(checkpoint: Checkpoint, per: Per, isAlive: boolean): string {
  const pod = isAlive ? podOf(checkpoint) : namedAgain(checkpoint);
  switch (per) {
    case "Namespace":
      return "";
    case "Workload":
      return workloadOf(checkpoint);
    case "Pod":
      return `${workloadOf(checkpoint)}/${pod}`;
    case "Container":
      return `${workloadOf(checkpoint)}/${pod}/${checkpoint.spec.containerName}`;
    default:
      return per satisfies never;
  }
}

const groups = (members: readonly Checkpoint[], key: (c: Checkpoint) => string): Checkpoint[][] => [
  ...Map.groupBy([...members].sort(newestFirst), key).values(),
];

/** Which level's word holds beside which: defaults give way to anything narrower on the same topic. */
const NARROWER: Readonly<Record<Level, readonly Level[]>> = {
  "built-in": ["default", "namespace"],
  default: ["namespace"],
  namespace: [],
  ceiling: [],
};

function heldOf(rules: readonly Rule[], all: readonly Checkpoint[]): { held: Held[]; selected: Held[] } {
  const bySchedule = Map.groupBy(all, ({ spec }) => spec.checkpointScheduleRef?.name ?? "");
  const byOwner = new Map<string, Checkpoint[]>();
  for (const c of all) {
    for (const { uid } of c.metadata.ownerReferences ?? []) {
      byOwner.set(uid, [...(byOwner.get(uid) ?? []), c]);
    }
  }
  const near = ({ only }: Rule): readonly Checkpoint[] => {
    if (only === undefined) return all;
    return ("schedule" in only ? bySchedule.get(only.schedule) : byOwner.get(only.owner)) ?? [];
  };
  const selected = [...rules]
    .sort((a, b) => compare(a.policy, b.policy) || compare(a.question.type, b.question.type))
    .map((rule) => ({ rule, members: near(rule).filter((c) => rule.selects(c)) }));
  const answered = new Map<string, Set<Checkpoint>>();
  for (const { rule, members } of selected) {
    const key = `${rule.level} ${topicOf(rule.question)}`;
    const before = answered.get(key) ?? new Set();
    answered.set(key, before);
    for (const c of members) before.add(c);
  }
  const held = selected.map(({ rule, members }) => {
    const over = NARROWER[rule.level].map((level) => answered.get(`${level} ${topicOf(rule.question)}`));
    return { rule, members: members.filter((c) => !over.some((narrower) => narrower?.has(c))) };
  });
  return { held, selected };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Of one group, newest first: what its keeps keep. Only sound ones count; of newer failures some are left to be seen. */
function keptOf(group: readonly Checkpoint[], { last, hourly, daily, weekly }: Keep, now: Date): string[] {
  const sound = group.filter((c) => isSound(c) && doubtAbout(c, now) === undefined);
  const kept = sound.slice(0, last);
  for (const [number, span, shift] of [
    [hourly, HOUR_MS, 0],
    [daily, DAY_MS, 0],
    [weekly, 7 * DAY_MS, MONDAY_MS],
  ] as const) {
    const spans = Map.groupBy(sound, (c) => Math.floor((takenAt(c) + shift) / span));
    for (const [newest] of [...spans.values()].slice(0, number)) kept.push(newest!);
  }
  const failures = group.filter(
    (c) => !isSound(c) && (sound[0] === undefined || newestFirst(c, sound[0]) < 0),
  );
  return [...kept, ...failures.slice(0, last)].map(uidOf);
}

/** What is counted of one group for one limit. */
class Tally {
  readonly rule: Rule;
  readonly why: string;
  readonly #most: number;
  readonly #weigh: (checkpoint: Checkpoint) => number;
  #taken = 0;

  constructor(rule: Rule, question: Extract<Question, { type: "count" | "total" }>) {
    this.rule = rule;
    const isCount = question.type === "count";
    this.#most = isCount ? question.max : question.maxBytes;
    this.#weigh = isCount ? () => 1 : bytesOf;
    this.why = isCount
      ? `there are more than ${question.max} of the ${rule.per.toLowerCase()}`
      : `those of the ${rule.per.toLowerCase()} have more than ${question.maxBytes} bytes`;
  }

  hasRoom(checkpoint: Checkpoint): boolean {
    return this.#taken + this.#weigh(checkpoint) <= this.#most;
  }

  take(checkpoint: Checkpoint): void {
    this.#taken += this.#weigh(checkpoint);
  }
}

function talliesOf(held: readonly Held[], groupOf: (c: Checkpoint, per: Per) => string) {
  const byCheckpoint = new Map<string, Tally[]>();
  for (const { rule, members } of held) {
    const { question } = rule;
    if (question.type !== "count" && question.type !== "total") continue;
    const byGroup = new Map<string, Tally>();
    for (const c of members) {
      const key = groupOf(c, rule.per);
      const tally = byGroup.get(key) ?? new Tally(rule, question);
      byGroup.set(key, tally);
      byCheckpoint.set(uidOf(c), [...(byCheckpoint.get(uidOf(c)) ?? []), tally]);
    }
  }
  return { of: (c: Checkpoint): readonly Tally[] => byCheckpoint.get(uidOf(c)) ?? [] };
}

function matchedOf(selected: readonly Held[]): Map<string, { count: number; bytes: number }> {
  const matched = new Map<string, { count: number; bytes: number }>();
  for (const [policy, own] of Map.groupBy(selected, ({ rule }) => rule.policy)) {
    const members = new Set(own.flatMap(({ members }) => members));
    const bytes = [...members].reduce((sum, c) => sum + bytesOf(c), 0);
    matched.set(policy, { count: members.size, bytes });
  }
  return matched;
}

/** When the first Checkpoint passes an age. */
function nextChange(held: readonly Held[], all: readonly Checkpoint[], now: Date): Date | undefined {
  const times = held.flatMap(({ rule: { question }, members }) =>
    question.type === "age" ? members.map((c) => takenAt(c) + question.maxMs + 1) : [],
  );
  for (const { status } of all) {
    const lost = findCondition(status?.conditions, LINEAGE_LOST);
    if (lost?.status === "True") times.push(Date.parse(lost.lastTransitionTime) + LOST_MS);
  }
  const next = times.filter((time) => time > now.getTime()).reduce((a, b) => Math.min(a, b), Infinity);
  // An age of a million years ends at no date.
  return next <= LAST_DATE ? new Date(next) : undefined;
}
