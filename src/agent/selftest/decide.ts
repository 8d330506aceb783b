import { createHash } from "node:crypto";
import { runtimeID, statusOf } from "../../api/pod.ts";
import type { Node, Pod } from "../../kube/resources.ts";
import type { Note } from "../../store/notes.ts";
import { SELFTEST_CONTAINER, TESTED_ANNOTATION } from "./pod.ts";

export interface Observed {
  /** What is to be tested: see {@link fingerprint}. */
  tested: string;
  pod: Pod | undefined;
  /** The handler has a plan for it. */
  planned: boolean;
  /** Its program was told to end. */
  told: boolean;
  /** What the handler noted last. */
  note: Note | undefined;
  timeoutMs: number;
}

export type Step =
  | { type: "create" }
  /** It is of another test: it makes way. */
  | { type: "remove" }
  | { type: "wait" }
  /** Checkpoint that run, and plan its restore. */
  | { type: "checkpoint"; containerID: string }
  | { type: "crash" }
  | { type: "passed"; message: string }
  | { type: "failed"; reason: string; message: string };

/** What the program writes when it finds itself restored. Source: `selftest` in kcr-runtime.c. */
const RESTORED = /^restored after \d+ ticks/;

/** The next step of a self-test, from what there is of it: whoever began it, and whenever. */
export function decideSelftest(observed: Observed, now: Date): Step {
  const { tested, pod, planned, told, note, timeoutMs } = observed;
  if (pod === undefined) return { type: "create" };
  if (pod.metadata.deletionTimestamp !== undefined) return { type: "wait" };
  if (pod.metadata.annotations?.[TESTED_ANNOTATION] !== tested) return { type: "remove" };

  const status = statusOf(pod, SELFTEST_CONTAINER);
  const { phase } = pod.status ?? {};
  const message = status?.state?.terminated?.message?.trim() ?? "";
  if (phase === "Succeeded") {
    return RESTORED.test(message)
      ? { type: "passed", message }
      : { type: "failed", reason: "NotRestored", message: `the program ended and said "${message}"` };
  }
  if (phase === "Failed") {
    const why = pod.status?.message ?? status?.state?.terminated?.reason ?? "no reason is given";
    return { type: "failed", reason: pod.status?.reason ?? "PodFailed", message: `its pod failed: ${why}` };
  }
  if (note !== undefined && note.type !== "restored") {
    return { type: "failed", reason: note.reason, message: note.message };
  }
  if ((status?.restartCount ?? 0) >= 2) {
    return {
      type: "failed",
      reason: "NotRestored",
      message: "its container was not restored, but started afresh",
    };
  }
  if (now.getTime() - Date.parse(pod.metadata.creationTimestamp ?? "") > timeoutMs) {
    return {
      type: "failed",
      reason: "DeadlineExceeded",
      message: `after ${timeoutMs / 1000} s ${stage(observed)}`,
    };
  }
  const containerID = runtimeID(status?.containerID);
  if (status?.restartCount !== 0 || status.state?.running === undefined || containerID === undefined) {
    return { type: "wait" };
  }
  if (!planned) return { type: "checkpoint", containerID };
  return told ? { type: "wait" } : { type: "crash" };
}

/** How far a self-test came that lasts too long. */
function stage({ pod, planned, told }: Observed): string {
  const status = pod && statusOf(pod, SELFTEST_CONTAINER);
  const waiting = status?.state?.waiting;
  const why = waiting && [waiting.reason, waiting.message].filter(Boolean).join(": ");
  if (why) return `its container waited: ${why}`;
  if (status?.containerID === undefined) return "its pod was not started";
  if (!planned) return "its checkpoint was not there";
  return told ? "its container was not restored" : "its program was not told to end";
}

/** Whether the node's runtime offers the handlers. */
export const offersHandler = ({ status }: Node): boolean =>
  ["kcr", "kcr-selftest"].every((wanted) =>
    (status?.runtimeHandlers ?? []).some(({ name }) => name === wanted),
  );

/** What a self-test is good for: it is made again when runtime, kernel, kubelet or kcr itself are others. */
export function fingerprint({ status }: Node, agent: Pod): string {
  const { containerRuntimeVersion, kernelVersion, kubeletVersion, bootID } = status?.nodeInfo ?? {};
  const [container] = agent.status?.containerStatuses ?? [];
  const image = container?.imageID || agent.spec?.containers[0]?.image;
  const what = JSON.stringify([containerRuntimeVersion, kernelVersion, kubeletVersion, bootID, image]);
  return createHash("sha256").update(what).digest("hex").slice(0, 16);
}
