import { appendFileSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { RESTORE_FROM_ANNOTATION } from "../api/labels.ts";
import { isContainerID, isContainerName, isPodUID, Layout } from "../store/layout.ts";
import { type Failure, NOTE_VERSION, type Note, type NoteHead } from "../store/notes.ts";
import { type Candidate, type Plan, parseLaterPlan, parsePlan } from "../store/plan.ts";
import type { RunState } from "../store/runs.ts";
import { type Call, globalValue } from "./args.ts";
import { attempt, type Creation } from "./attempt.ts";
import type { Conf } from "./conf.ts";
import { afterRestore, decideCreate, lostWithout } from "./decide.ts";
import { endOf } from "./exit.ts";
import { Notebook } from "./notebook.ts";
import { asPartError, type PartError } from "./parts/errors.ts";
import { type RuntimeSpec, readSpec } from "./parts/spec.ts";
import { finish, settle, undo } from "./undo.ts";

/** What becomes of the call: the container runs; the real `create` shall be run; it shall fail. */
export type Outcome = "restored" | "create" | "refused";

const POLL_MS = 100;

/** A `create` of a container that has a plan, or waits for one. */
export async function create(conf: Conf, call: Call): Promise<Outcome> {
  const began = Date.now();
  // The clock may be set while it is waited: after a boot it often is.
  const deadline = performance.now() + conf.restoreSeconds * 1000;
  const [id] = call.words;
  const bundle = resolve(call.flags.get("bundle") ?? ".");
  const spec = await readSpec(resolve(bundle, "config.json")).catch(() => undefined);
  if (spec === undefined) return notUnderstood(call);
  const who = identityOf(spec);
  if (!isContainerID(id) || who === undefined) return "create";
  const layout = new Layout(conf.state);
  const notebook = new Notebook(layout, who);
  const last = notebook.last();
  const state = notebook.state();
  const [newest] = state?.chain.slice(-1) ?? [];
  if (newest !== last?.id) ifPossible(() => settle(layout, newest));
  const isAwaited = spec.annotations[RESTORE_FROM_ANNOTATION] !== undefined && last === undefined;
  const plan = isAwaited ? await planOf(notebook, conf.waitSeconds * 1000) : notebook.plan();
  const head = (cause: string): NoteHead => headOf(who, id, cause);
  const ending = {
    last,
    end: last && endOf(conf, last.id),
    killed: notebook.killed(),
    sandbox: who.sandbox,
  };
  const unknown = notebook.unknown();
  if (unknown !== undefined) {
    const { cause, lost } = lostWithout(ending);
    const { why: message, fallback } = unknown;
    const given = { reason: "ProtocolUnknown", message, lost: lost || isAwaited, failed: [] };
    return giveUp({ plan: { fallback }, notebook, call }, { ...head(cause), ...given });
  }
  if (plan === undefined) {
    if (isAwaited) {
      const message = `no plan came within ${conf.waitSeconds} s`;
      notebook.note({
        ...head("a new pod"),
        type: "fresh",
        reason: "PlanMissing",
        message,
        lost: true,
        failed: [],
      });
    }
    return "create";
  }
  const decision = decideCreate({
    ...ending,
    plan,
    state,
    nowMs: began,
  });
  if (decision.type === "fresh") {
    const { type: _, cause, ...given } = decision;
    return giveUp({ plan, notebook, call }, { ...head(cause), ...given });
  }

  const signal = AbortSignal.timeout(Math.max(1, Math.round(deadline - performance.now())));
  const creation: Creation = { conf, layout, call, plan, id, bundle, spec, deadline, signal };
  const failed: Failure[] = [...decision.failed];
  for (const candidate of decision.candidates) {
    if (performance.now() > deadline) break;
    const attempted = Date.now();
    // Written before: a run that was restored is never taken for a fresh one, whatever is killed when.
    const next = afterRestore(decision.state, { id, last, candidate, before: decision.before });
    const failure =
      remember(candidate, () => notebook.writeState(next)) ?? (await attempt(creation, candidate));
    if (failure === undefined) {
      notebook.writeLast({ id, sandbox: who.sandbox, createdMs: attempted });
      notebook.note({
        ...head(decision.cause),
        type: "restored",
        checkpoint: candidate.checkpoint,
        checkpointUID: candidate.uid,
        ageMs: Math.max(0, began - Date.parse(candidate.takenTime)),
        tookMs: Date.now() - began,
        armed: decision.armed,
        failed,
      });
      return "restored";
    }
    failed.push(failure);
    if (failure.corrupt) ifPossible(() => notebook.markCorrupt(candidate.copy, failure.message));
  }
  // What follows is no restored run: nothing of the attempts may be taken for its origin.
  ifPossible(() => notebook.forget(id));
  const lastFailure = failed.at(-1);
  return giveUp(
    { plan, notebook, call },
    {
      ...head(decision.cause),
      reason: lastFailure?.code ?? "NoCheckpoint",
      message: lastFailure?.message ?? "no checkpoint was left to try",
      lost: true,
      armed: decision.armed,
      failed,
    },
  );
}

/**
 * After a `create` of ours that broke off: as if it had never begun, or finished if the container runs restored.
 * Errors: what cannot be made good.
 */
export async function clean(conf: Conf, call: Call): Promise<Outcome> {
  const id = call.words[0] ?? "";
  const layout = new Layout(conf.state);
  const spec = await readSpec(resolve(call.flags.get("bundle") ?? ".", "config.json"));
  const who = identityOf(spec);
  if (!isContainerID(id) || who === undefined) return "create";
  if (finish(layout, id)) return "restored";
  const notebook = new Notebook(layout, who);
  const state = notebook.state();
  ifPossible(() => notebook.forget(id));
  await undo({ conf, layout, call, id });
  const plan = notebook.plan();
  if (plan === undefined) return "create";
  const given = {
    ...headOf(who, id, "not known"),
    reason: "RestoreFailed",
    message: "the handler broke off",
    lost: true,
    failed: [],
  };
  const { armed } = plan;
  const isUsed = (by: RunState | undefined): boolean =>
    armed !== undefined && by?.used.includes(armed.id) === true;
  const isAsked = isUsed(state) && !isUsed(state?.before);
  return giveUp({ plan, notebook, call }, { ...given, ...(isAsked && { armed: armed?.id }) });
}

const headOf = (who: Identity, containerID: string, cause: string): NoteHead => ({
  version: NOTE_VERSION,
  ...who,
  containerID,
  time: new Date().toISOString(),
  cause,
});

type Given = NoteHead & {
  reason: string;
  message: string;
  lost: boolean;
  armed?: string;
  failed: Failure[];
};

/** Nothing is restored: the original image, or nothing where the workload's owner wanted it so. */
function giveUp(
  { plan, notebook, call }: { plan: Pick<Plan, "fallback">; notebook: Notebook; call: Call },
  given: Given,
): Outcome {
  const { lost, ...rest } = given;
  if (plan.fallback === "Fail" && lost) {
    ifPossible(() => notebook.note({ ...rest, type: "refused" } satisfies Note));
    ifPossible(() => refuse(call, `kcr: ${given.reason}: ${given.message}`));
    return "refused";
  }
  ifPossible(() => notebook.note({ ...given, type: "fresh" }));
  return "create";
}

/** What a full disk must not decide about: whether the container is begun, and from what. There is nobody to tell. */
function ifPossible(act: () => void): void {
  try {
    act();
  } catch {
    // See above.
  }
}

/** Without what is written down first a candidate is not restored: nobody would know where the run came from. */
function remember(candidate: Candidate, act: () => void): Failure | undefined {
  try {
    act();
    return undefined;
  } catch (cause) {
    const error = asPartError(cause, "the restore cannot be written down");
    const { checkpoint, uid: checkpointUID } = candidate;
    const { code, message } = error as PartError;
    return { checkpoint, checkpointUID, code, message, poisoned: false, corrupt: false };
  }
}

/** A configuration that only the real runtime may understand: it is its business, unless no fresh start is wanted. */
function notUnderstood(call: Call): Outcome {
  let text = "";
  try {
    text = readFileSync(process.env["KCR_PLAN"] ?? "", "utf8");
  } catch {
    // No plan: nothing is wanted.
  }
  if ((parsePlan(text) ?? parseLaterPlan(text))?.fallback !== "Fail") return "create";
  refuse(
    call,
    "kcr: RestoreFailed: the container's config.json cannot be understood, and no fresh start is wanted",
  );
  return "refused";
}

/** Says why in the log that the caller reads: logrus's JSON, as the real runtime writes it. */
function refuse(call: Call, msg: string): void {
  const log = globalValue(call, "log");
  if (log === undefined) return;
  appendFileSync(log, `${JSON.stringify({ level: "error", msg, time: new Date().toISOString() })}\n`);
}

/** Waits for a plan that is still being made. */
async function planOf(notebook: Notebook, waitMs: number): Promise<Plan | undefined> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const plan = notebook.plan();
    const isOver = notebook.unknown() !== undefined || performance.now() >= deadline;
    if (plan !== undefined || isOver) return plan;
    await sleep(POLL_MS);
  }
}

interface Identity {
  podUID: string;
  namespace: string;
  pod: string;
  container: string;
  sandbox: string;
}

/**
 * Whose container it is, by containerd's annotations or by CRI-O's. An engine writes its own itself, but passes on
 * what a pod's owner says by the other's: of both none is believed.
 */
export function identityOf({ annotations }: RuntimeSpec): Identity | undefined {
  const isCrio = "io.kubernetes.cri-o.ContainerType" in annotations;
  if (isCrio === "io.kubernetes.cri.container-type" in annotations) return undefined;
  const one = (containerd: string, crio: string): string => annotations[isCrio ? crio : containerd] ?? "";
  const podUID = one("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid");
  const container = one("io.kubernetes.cri.container-name", "io.kubernetes.container.name");
  if (!isPodUID(podUID) || !isContainerName(container)) return undefined;
  return {
    podUID,
    container,
    namespace: one("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    pod: one("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    sandbox: one("io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"),
  };
}
