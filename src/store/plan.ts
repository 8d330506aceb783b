import { isContainerID, isContainerName, isPodUID, isSha256 } from "./layout.ts";
import { isKnown, laterProtocol } from "./protocol.ts";

/**
 * The protocol that this code writes (protocol.ts). Of whatever later one a plan is, its fields `version` and `fallback`
 * are these: a handler that does not know it does what its `fallback` says.
 */
export const PLAN_VERSION = 1;

/** One checkpoint that a container may be restored from, with a copy on this node. */
export interface Candidate {
  /** Name and UID of the Checkpoint. */
  checkpoint: string;
  uid: string;
  /** sha256 of its archive: the name of its copy. */
  copy: string;
  /** When it was taken, RFC 3339. */
  takenTime: string;
  /** The container that it was taken of. */
  containerID: string;
}

/**
 * What the handler does at the next `create` of one container, written by the agent beforehand, so that a crash
 * is restored with nobody else alive.
 */
export interface Plan {
  version: number;
  podUID: string;
  namespace: string;
  pod: string;
  container: string;
  /**
   * The run (container ID) whose lineage the candidates are. The plan counts for it and for runs restored from
   * it, not for a run that started afresh since. Empty: for a container that has not run yet.
   */
  run: string;
  /** Whether a failed run is restored. False: only what is armed counts. */
  onFailure: boolean;
  /** When nothing can be restored: the original image, or `create` fails. */
  fallback: "FreshStart" | "Fail";
  /** What a checkpoint does whose process was given something else. */
  onSpecChange: "Fresh" | "Restore";
  /** What becomes of volumes that can be written to. */
  volumes: "Refuse" | "Ignore" | "Capture";
  /** How often in a row a candidate may crash at once before the next is tried. */
  maxAttempts: number;
  /** A restored run that lasted this long ran well. */
  stableSeconds: number;
  /** Names of environment variables taken from the pod's own fields: they may differ. */
  perPodEnv: string[];
  /** Names of the pod's emptyDirs that other containers of it mount too: they are never put back. */
  sharedVolumes?: string[];
  /** Good ones, in the order in which they are tried. */
  candidates: Candidate[];
  /** At the next `create`, whatever ended the last run: this one, once. */
  armed?: {
    /** UID of the CheckpointRestore that asked for it; what was used is not used again. */
    id: string;
    candidate: Candidate;
  };
}

/** The plan in that text; undefined for what is none, or of a later protocol. */
export function parsePlan(text: string): Plan | undefined {
  const value = jsonOf(text);
  return isPlan(value) ? value : undefined;
}

/** What can be told of a plan of a later protocol. */
export interface LaterPlan extends Pick<Plan, "version" | "fallback"> {}

/** Undefined for what is no plan, and for one that is known. */
export function parseLaterPlan(text: string): LaterPlan | undefined {
  const value = jsonOf(text);
  const version = laterProtocol(value, PLAN_VERSION);
  if (version === undefined || !isObject(value)) return undefined;
  return { version, fallback: value["fallback"] === "Fail" ? "Fail" : "FreshStart" };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string" && value.length <= 1024;
const isOneOf = (value: unknown, ...all: string[]): boolean =>
  typeof value === "string" && all.includes(value);
const isCount = (value: unknown): boolean =>
  typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 1_000_000;

function isCandidate(value: unknown): value is Candidate {
  return (
    isObject(value) &&
    isText(value["checkpoint"]) &&
    isText(value["uid"]) &&
    isSha256(value["copy"]) &&
    isText(value["takenTime"]) &&
    Number.isFinite(Date.parse(value["takenTime"])) &&
    isContainerID(value["containerID"])
  );
}

function isPlan(value: unknown): value is Plan {
  if (!isObject(value) || !isKnown(value, PLAN_VERSION)) return false;
  const { armed, candidates, perPodEnv, sharedVolumes = [] } = value;
  return (
    isPodUID(value["podUID"]) &&
    isText(value["namespace"]) &&
    isText(value["pod"]) &&
    isContainerName(value["container"]) &&
    (value["run"] === "" || isContainerID(value["run"])) &&
    typeof value["onFailure"] === "boolean" &&
    isOneOf(value["fallback"], "FreshStart", "Fail") &&
    isOneOf(value["onSpecChange"], "Fresh", "Restore") &&
    isOneOf(value["volumes"], "Refuse", "Ignore", "Capture") &&
    isCount(value["maxAttempts"]) &&
    isCount(value["stableSeconds"]) &&
    Array.isArray(perPodEnv) &&
    perPodEnv.length <= 4096 &&
    perPodEnv.every(isText) &&
    Array.isArray(sharedVolumes) &&
    sharedVolumes.every(isText) &&
    Array.isArray(candidates) &&
    candidates.length <= 64 &&
    candidates.every(isCandidate) &&
    (armed === undefined || (isObject(armed) && isText(armed["id"]) && isCandidate(armed["candidate"])))
  );
}
