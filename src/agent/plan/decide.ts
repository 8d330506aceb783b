import type { z } from "zod";
import type { Checkpoint } from "../../api/checkpoint.ts";
import type { Facts } from "../../api/facts.ts";
import { differencesIn, type Misfit, whyNotHere } from "../../api/fit.ts";
import { isGood, isPoisoned } from "../../api/kinds.ts";
import { containersOf, type PodContainer } from "../../api/pod.ts";
import type { Protection } from "../../api/protection.ts";
import { restorePolicy } from "../../api/schedule.ts";
import type { Pod } from "../../kube/resources.ts";
import { isContainerID } from "../../store/layout.ts";
import { type Candidate, PLAN_VERSION, type Plan } from "../../store/plan.ts";
import { copyOf } from "./copies.ts";
import type { KnownRun } from "./runs.ts";

export interface PlanInput {
  pod: Pod;
  container: Pick<PodContainer, "name" | "env">;
  /** Its newest run; undefined for one that never ran. */
  run: KnownRun | undefined;
  /** How it is protected, if it is. */
  protection: Protection | undefined;
  /** What the run may be restored from, good or not, in the order in which it is tried. */
  lineage: readonly Checkpoint[];
  /** The copies that the node has, of those that matter here. */
  copies: ReadonlySet<string>;
  /** What is known of the node. */
  facts: Facts;
  /** What a person asked for, if somebody did and it is not done. */
  armed?: { id: string; checkpoint: Checkpoint };
  /** Something of the pod was asked for: its containers that never ran need not wait for a plan. */
  claimed: boolean;
  stableSeconds: number;
  /** How many candidates stand in a plan: what stands there keeps its copy. */
  perContainer: number;
}

/** No more candidates than these, however many copies there may be. */
const MAX_CANDIDATES = 16;

const DEFAULTS: z.output<typeof restorePolicy> = restorePolicy.parse({});

/**
 * The plan of one container of a pod of class kcr; undefined when there is to be none.
 *
 * Guarantees: only good Checkpoints that nobody has found poisoned, with a copy on this node and fit for it, of the
 * lineage of the newest run; what is armed is what a CheckpointRestore for this very container names.
 */
export function decidePlan(input: PlanInput): Plan | undefined {
  const { pod, container, run, protection, copies, armed, claimed } = input;
  if (pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed") return undefined;
  // A schedule that wants images swapped is the operator's.
  const onFailure = run !== undefined && protection !== undefined && protection.strategy !== "Image";
  const asked = armed && candidateOf(armed.checkpoint);
  const isArmed =
    armed !== undefined &&
    asked !== undefined &&
    copies.has(asked.copy) &&
    fits(armed.checkpoint, input.facts);
  // What was asked for may still be on its way here: a plan without it would end the wait for it.
  const isLetGo = claimed && run === undefined && armed === undefined;
  if (!onFailure && !isArmed && !isLetGo) return undefined;

  const good = goodOf(input);
  const { fallback, onSpecChange, volumes, maxAttempts } = protection ?? DEFAULTS;
  return {
    version: PLAN_VERSION,
    podUID: pod.metadata.uid ?? "",
    namespace: pod.metadata.namespace ?? "",
    pod: pod.metadata.name,
    container: container.name,
    run: run?.id ?? "",
    onFailure,
    // Fail protects a state; where none was ever saved there is nothing to wait for.
    fallback: good.length > 0 || isArmed ? fallback : "FreshStart",
    onSpecChange,
    volumes,
    maxAttempts,
    stableSeconds: input.stableSeconds,
    perPodEnv: perPodEnv(container),
    sharedVolumes: sharedVolumes(pod, container.name),
    // Behind what was asked for stands what is lost otherwise, of an unprotected container too.
    candidates:
      run !== undefined && (onFailure || isArmed)
        ? restorable(input)
            .filter((c) => fits(c, input.facts))
            .flatMap((c) => candidateOf(c) ?? [])
            .slice(0, Math.min(input.perContainer, MAX_CANDIDATES))
        : [],
    ...(isArmed ? { armed: { id: armed.id, candidate: asked } } : {}),
  };
}

const goodOf = ({ lineage }: PlanInput): Checkpoint[] => lineage.filter(isGood);

/** Of the run's lineage what could be restored here, were the node the right one. */
const restorable = (input: PlanInput): Checkpoint[] =>
  goodOf(input)
    .filter((c) => !isPoisoned(c) && !input.run?.passedOver.includes(c.metadata.uid ?? ""))
    .filter((c) => input.copies.has(candidateOf(c)?.copy ?? ""));

/** What keeps the Checkpoint away from a node of which that is known. */
export const differences = ({ status }: Checkpoint, here: Facts): Misfit[] =>
  differencesIn(whyNotHere(status?.environment, here));
const fits = (checkpoint: Checkpoint, here: Facts): boolean => differences(checkpoint, here).length === 0;

/** What would stand in the plan as a candidate, did it fit the node; and why it does not. */
export interface LeftOut {
  checkpoint: Checkpoint;
  misfits: Misfit[];
}

export const leftOut = (input: PlanInput): LeftOut[] =>
  restorable(input)
    .map((checkpoint) => ({ checkpoint, misfits: differences(checkpoint, input.facts) }))
    .filter(({ misfits }) => misfits.length > 0)
    .slice(0, Math.min(input.perContainer, MAX_CANDIDATES));

/** A Checkpoint as a plan names it; undefined for one of which that is not known yet. */
export function candidateOf(checkpoint: Checkpoint): Candidate | undefined {
  const { metadata, spec, status } = checkpoint;
  const copy = copyOf(checkpoint);
  const containerID = status?.lineage?.containerID;
  if (copy === undefined || metadata.uid === undefined || !isContainerID(containerID)) return undefined;
  return {
    checkpoint: metadata.name,
    uid: metadata.uid,
    copy,
    takenTime: spec.checkpointTimestamp,
    containerID,
  };
}

/** Names of the environment that the container takes from its pod's own fields, and that may differ therefore. */
const perPodEnv = ({ env = [] }: Pick<PodContainer, "env">): string[] =>
  env.filter(({ valueFrom }) => valueFrom?.fieldRef ?? valueFrom?.resourceFieldRef).map(({ name }) => name);

/** Names of the pod's emptyDirs that another container mounts too. */
function sharedVolumes(pod: Pod, container: string): string[] {
  const mountedBy = (name: string): string[] =>
    containersOf(pod)
      .filter(({ volumeMounts = [] }) => volumeMounts.some((mount) => mount.name === name))
      .map((c) => c.name);
  return (pod.spec?.volumes ?? [])
    .filter(({ name, emptyDir }) => emptyDir && mountedBy(name).some((other) => other !== container))
    .map(({ name }) => name);
}
