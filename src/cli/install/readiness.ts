import { ERRORS, type ErrorCode } from "../../api/errors.ts";
import { hasHandlerReady, readSelftest } from "../../api/selftest.ts";
import type { DaemonSet, Deployment, KubeEvent, Node, Pod } from "../../kube/resources.ts";
import { INSTALLER } from "./installed.ts";

/** What is looked at while kcr comes up. */
export interface Observed {
  /** kcr's programs but the installer, by name. */
  deployments: readonly Deployment[];
  daemonSets: readonly DaemonSet[];
  /** Absent where nodes get no handler. */
  installer?: DaemonSet;
  installerPods: readonly Pod[];
  nodes: readonly Node[];
  /** Of kcr's namespace. */
  events: readonly KubeEvent[];
  /** Whether agents try the handler and label nodes. */
  selftest: boolean;
}

export interface Problem {
  node: string;
  code: ErrorCode;
  message: string;
}

export interface Readiness {
  /** What is waited for, a phrase each; empty when all has come up that can. */
  waiting: string[];
  /** Nodes that will not have the handler as things are. */
  problems: Problem[];
}

/** Reasons of an installer's Events after which nothing more comes of it until a person does something. */
const FINAL: readonly ErrorCode[] = ["RuntimeUnsupported", "RuntimeConfigUnclear", "RuntimeRestartUnclear"];

/** How far an installation has come. Pure. */
export function readinessOf(observed: Observed): Readiness {
  const { deployments, daemonSets, installer, installerPods, nodes, events, selftest } = observed;
  const waiting = [
    ...deployments.flatMap((one) => rollout(one.metadata.name, deploymentProgress(one))),
    ...daemonSets.flatMap((one) => rollout(one.metadata.name, daemonSetProgress(one))),
  ];
  if (installer === undefined) return { waiting, problems: [] };
  if (!isObserved(installer)) return { waiting: [...waiting, "installers"], problems: [] };

  const problems: Problem[] = [];
  const late: string[] = [];
  const installed = installerPods.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const wanted = installer.status?.desiredNumberScheduled ?? 0;
  if (installed.length < wanted) waiting.push(`installers (${installed.length} of ${wanted})`);
  for (const pod of installed) {
    const node = nodes.find(({ metadata }) => metadata.name === pod.spec?.nodeName);
    if (node === undefined) continue;
    const { name } = node.metadata;
    const problem = problemOf(pod, events);
    if (problem !== undefined) problems.push({ node: name, ...problem });
    else if (!isReady(pod)) late.push(`${name} (being installed)`);
    else if (selftest && !hasHandlerReady(node)) {
      const test = readSelftest(node);
      late.push(`${name} (${test?.result === "failed" ? `self-test failed: ${test.message}` : "self-test"})`);
    }
  }
  if (late.length > 0) waiting.push(`runtime handlers of ${late.join(", ")}`);
  return { waiting, problems };
}

const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some((c) => c.type === "Ready" && c.status === "True") ?? false;

/** The newest word of an installer's pod, where it is one of giving up. */
function problemOf({ metadata }: Pod, events: readonly KubeEvent[]): Omit<Problem, "node"> | undefined {
  const own = events
    .filter(
      ({ regarding, reportingController }) =>
        regarding?.uid === metadata.uid && reportingController === INSTALLER,
    )
    .sort((a, b) => timeOf(b) - timeOf(a));
  const code = FINAL.find((one) => one === own[0]?.reason);
  return code && { code, message: own[0]?.note ?? ERRORS[code].means };
}

const timeOf = ({ eventTime, series, metadata }: KubeEvent): number =>
  Date.parse(series?.lastObservedTime ?? eventTime ?? metadata.creationTimestamp ?? "");

interface Progress {
  done: number;
  of: number;
}

const rollout = (what: string, { done, of }: Progress): string[] =>
  of > 0 && done >= of ? [] : [`${what} (${Math.max(0, done)} of ${of})`];

/** Source: kubectl's `rollout status`. */
export function deploymentProgress(deployment: Deployment): Progress {
  const { spec, status } = deployment;
  const of = spec?.replicas ?? 1;
  if (!isObserved(deployment)) return { done: 0, of };
  const { updatedReplicas = 0, availableReplicas = 0, replicas = 0 } = status ?? {};
  return { done: Math.min(updatedReplicas, availableReplicas) - Math.max(0, replicas - updatedReplicas), of };
}

/** Source: as above. */
export function daemonSetProgress(daemonSet: DaemonSet): Progress {
  const {
    updatedNumberScheduled = 0,
    numberAvailable = 0,
    desiredNumberScheduled = 0,
  } = daemonSet.status ?? {};
  if (!isObserved(daemonSet)) return { done: 0, of: desiredNumberScheduled || 1 };
  return { done: Math.min(updatedNumberScheduled, numberAvailable), of: desiredNumberScheduled };
}

const isObserved = ({ metadata, status }: Deployment | DaemonSet): boolean =>
  (status?.observedGeneration ?? 0) >= (metadata.generation ?? 1);
