import { KcrError } from "../../api/errors.ts";
import type { CaptureSource } from "../../api/request.ts";
import { backoffDelay } from "../../kube/backoff.ts";
import { delay } from "../../kube/signals.ts";
import type { Archives } from "../archives.ts";
import { type Captured, inspect, isOf, unfit } from "../inspect.ts";
import { checkpoint, KubeletError, type KubeletOptions, type Target } from "../kubelet.ts";

const backoff = { baseMs: 500, maxMs: 5_000, jitter: 0.2 };

/**
 * Has the kubelet dump a container, and gives the archive once it is known to be whole and of that very run.
 * Errors that pass are met with another try until the deadline.
 *
 * Guarantees: an archive that is damaged, or of another run, is removed.
 * Errors: KcrError; the signal's reason between two tries. A dump that has begun is not stopped by the signal.
 */
export async function capture(
  options: { kubelet: KubeletOptions; archives: Archives; now: () => Date },
  target: Target,
  source: CaptureSource,
  deadline: Date,
  signal: AbortSignal,
): Promise<Captured> {
  const { kubelet, archives, now } = options;
  const secondsLeft = (): number => (deadline.getTime() - now().getTime()) / 1000;
  for (let attempt = 1; ; attempt++) {
    try {
      const name = await checkpoint(kubelet, target, secondsLeft());
      return await takeIn(archives, name, target, source);
    } catch (error) {
      const waitMs = backoffDelay(backoff, attempt);
      const worthIt =
        error instanceof KubeletError && attempt <= error.retries && secondsLeft() * 1000 > waitMs;
      if (!worthIt) throw error;
      await delay(waitMs, signal);
    }
  }
}

async function takeIn(
  archives: Archives,
  name: string,
  target: Target,
  source: CaptureSource,
): Promise<Captured> {
  try {
    const captured = await inspect(archives, name);
    const why = mismatch(captured, target, source);
    if (why !== undefined) throw why;
    return captured;
  } catch (error) {
    if (error instanceof KcrError) await archives.remove(name);
    throw error;
  }
}

/** Why an archive is not of the run that was to be captured; undefined when it is. */
export function mismatch(captured: Captured, target: Target, source: CaptureSource): KcrError | undefined {
  const { lineage } = source;
  const { identity } = captured;
  if (!isOf(captured, { ...target, podUID: lineage.podUID })) {
    return new KcrError(
      "ArchiveInvalid",
      `archive ${captured.name} is of container ${identity.podNamespace}/${identity.podName}/${identity.containerName}`,
    );
  }
  if (identity.containerId !== lineage.containerID) {
    return new KcrError("RestoreInProgress", `container ${target.container} restarted before it was dumped`);
  }
  // A run that was taken for restored and was not would bury the state that it lacks.
  const { restoredFrom } = source;
  if (
    restoredFrom !== undefined &&
    captured.engine === "containerd" &&
    captured.restoredFrom !== restoredFrom
  ) {
    return new KcrError(
      "RestoreInProgress",
      `container ${target.container} does not run from ${restoredFrom}`,
    );
  }
  return undefined;
}

/**
 * The newest archive of the run made since `startTime` that no Checkpoint names: what a dump left behind whose
 * agent was killed, or whose deadline had passed.
 */
export async function findLeftBehind(
  archives: Archives,
  target: Target,
  source: CaptureSource,
  startTime: Date,
  named: ReadonlySet<string>,
): Promise<Captured | undefined> {
  for (const file of await archives.candidates(target)) {
    if (file.modified < startTime || named.has(file.name)) continue;
    const captured = await inspect(archives, file.name).catch(unfit);
    if (captured && mismatch(captured, target, source) === undefined) return captured;
  }
  return undefined;
}
