import { KcrError } from "../../api/errors.ts";
import type { CaptureSource } from "../../api/request.ts";
import { backoffDelay } from "../../kube/backoff.ts";
import { delay } from "../../kube/signals.ts";
import type { Archives } from "../archives.ts";
import type { Ahead } from "../image/ahead.ts";
import { type Captured, inspect, isOf, unfit } from "../inspect.ts";
import type { Target } from "../kubelet.ts";
import { type DumpEngine, retriesOf } from "./engine.ts";

const backoff = { baseMs: 500, maxMs: 5_000, jitter: 0.2 };
/** An archive that is not whole and was not written to for so long will never be, in milliseconds. */
const QUIET_MS = 5_000;
/** How often to look whether an archive has become whole, in milliseconds. */
const LOOK_MS = 500;

export interface CaptureOptions {
  engine: DumpEngine;
  archives: Archives;
  now: () => Date;
  /** Sends the archive on while it is being written. */
  ahead?: Pick<Ahead, "follow"> | undefined;
}

/**
 * Has the engine dump a container, and gives the archive once it is known to be whole and of that very run.
 * Errors that pass are met with another try until the deadline.
 *
 * Guarantees: an archive that is damaged, or of another run, is removed; so is what a failed try has written. A
 * dump whose end was not heard of is not made a second time if its archive comes to be whole.
 * Errors: KcrError; the signal's reason between two tries. A dump that has begun is not stopped by the signal.
 */
export async function capture(
  options: CaptureOptions,
  target: Target,
  source: CaptureSource,
  deadline: Date,
  signal: AbortSignal,
): Promise<Captured> {
  const { engine, archives, now, ahead } = options;
  const secondsLeft = (): number => (deadline.getTime() - now().getTime()) / 1000;
  for (let attempt = 1; ; attempt++) {
    const began = now();
    try {
      using following = ahead?.follow(target, source);
      const name = await engine.dump(target, source, secondsLeft());
      const captured = await takeIn(archives, name, target, source);
      following?.end(captured);
      return captured;
    } catch (error) {
      const waitMs = backoffDelay(backoff, attempt);
      const retries = retriesOf(error);
      if (retries !== undefined) {
        const left = await settledLeftBehind(options, target, source, began, deadline, signal);
        if (left) return left;
      }
      const worthIt = retries !== undefined && attempt <= retries && secondsLeft() * 1000 > waitMs;
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

/** What a dump left behind of which nobody heard the end: its agent was killed, or the kubelet was. */
export type LeftBehind =
  | { type: "nothing" }
  /** An archive that is not whole and may still be written to: look again. */
  | { type: "unfinished" }
  | { type: "archive"; captured: Captured };

/**
 * The newest whole archive of the run, made since `since`, that no Checkpoint names.
 *
 * Guarantees: what is not whole and never will be is removed on the way; the runtime does not, when the call for
 * the dump ends before the dump. What is whole and of another run is left alone.
 */
export async function findLeftBehind(
  { archives, now }: { archives: Archives; now: () => Date },
  target: Target,
  source: CaptureSource,
  since: Date,
  named: ReadonlySet<string>,
): Promise<LeftBehind> {
  let unfinished = false;
  for (const file of await archives.candidates(target)) {
    if (file.modified < since || named.has(file.name)) continue;
    const captured = await inspect(archives, file.name).catch(unfit);
    if (captured === undefined) {
      if (now().getTime() - file.modified.getTime() < QUIET_MS) unfinished = true;
      else await archives.remove(file.name);
    } else if (mismatch(captured, target, source) === undefined) {
      return { type: "archive", captured };
    }
  }
  return unfinished ? { type: "unfinished" } : { type: "nothing" };
}

/** Waits for what a failed try left behind to be whole, or given up. Until the deadline; no error of its own. */
async function settledLeftBehind(
  options: { archives: Archives; now: () => Date },
  target: Target,
  source: CaptureSource,
  since: Date,
  deadline: Date,
  signal: AbortSignal,
): Promise<Captured | undefined> {
  for (;;) {
    // Others' are older: while this dump lasts there is no other of the container.
    const left = await findLeftBehind(options, target, source, since, new Set());
    if (left.type === "archive") return left.captured;
    if (left.type === "nothing" || options.now() >= deadline) return undefined;
    await delay(LOOK_MS, signal);
  }
}
