import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type CopyIndex, HANDLER_NOTE, type HandlerNote, isPageData, SPEC_DUMP } from "../store/copy.ts";
import type { Layout } from "../store/layout.ts";
import type { Failure } from "../store/notes.ts";
import type { Candidate, Plan } from "../store/plan.ts";
import { type Call, globalValue, restoreArguments } from "./args.ts";
import type { Conf } from "./conf.ts";
import { isUntouched, overlayAt } from "./overlay.ts";
import { CopyError, checkCopy } from "./parts/copy-check.ts";
import { differences } from "./parts/fit.ts";
import { imagesWithHostname } from "./parts/hostname.ts";
import { writeMarker } from "./parts/marker.ts";
import { divergingPath, missingMounts } from "./parts/mounts.ts";
import { applyRootfsDiff } from "./parts/rootfs.ts";
import { readSpec, type Spec } from "./parts/spec.ts";
import { putBackVolumes } from "./parts/volumes.ts";
import { criuErrors } from "./restore-log.ts";
import { runRuntime } from "./run.ts";
import { undo } from "./undo.ts";

/** One `create` that is to become a restore. */
export interface Creation {
  conf: Conf;
  layout: Layout;
  call: Call;
  plan: Plan;
  id: string;
  bundle: string;
  spec: Spec;
}

/** Why a candidate is not restored. */
class Unfit extends Error {
  readonly code: string;
  readonly corrupt: boolean;

  constructor(code: string, message: string, corrupt = false) {
    super(message);
    this.code = code;
    this.corrupt = corrupt;
  }
}

/**
 * Restores one candidate in place of the container that was to be created.
 *
 * Guarantees: returns nothing when the container runs restored; else says why not, and the root file system, the
 * volumes and the runtime's state are as they were before.
 */
export async function attempt(creation: Creation, candidate: Candidate): Promise<Failure | undefined> {
  try {
    await restore(creation, candidate);
    return undefined;
  } catch (error) {
    await undo(creation);
    const known = error instanceof Unfit ? error : undefined;
    return {
      checkpoint: candidate.checkpoint,
      checkpointUID: candidate.uid,
      code: known?.code ?? "RestoreFailed",
      message: error instanceof Error ? error.message : String(error),
      poisoned: false,
      corrupt: known?.corrupt ?? false,
    };
  }
}

async function restore(creation: Creation, candidate: Candidate): Promise<void> {
  const { conf, layout, call, plan, id, spec } = creation;
  const copy = layout.copy(candidate.copy);
  const index = await check(copy);
  const note = readHandlerNote(copy);
  const rootfs = resolve(creation.bundle, spec.root.path);
  fits(creation, { copy, index, note, rootfs });

  const work = layout.work(id);
  mkdirSync(work, { recursive: true, mode: 0o700 });
  // From here on there is something to undo, whoever comes to do it.
  writeFileSync(join(work, "dirty"), rootfs, { flush: true });
  await applyRootfsDiff({ copy, engine: index.engine, rootfs });
  await writeMarker(rootfs, {
    from: candidate.checkpoint,
    to: id,
    namespace: plan.namespace,
    pod: plan.pod,
    takenTime: candidate.takenTime,
    perPodEnv: plan.perPodEnv,
  });
  if (note !== undefined && plan.volumes === "Capture") {
    const shared = new Set(plan.sharedVolumes ?? []);
    const own = { ...note, captured: note.captured.filter(({ name }) => !shared.has(name)) };
    await putBackVolumes({ copy, note: own, spec, aside: join(work, "volumes.json") });
  }
  const hostname = spec.process.env
    .findLast((entry) => entry.startsWith("HOSTNAME="))
    ?.slice("HOSTNAME=".length);
  const imagePath = await imagesWithHostname({ copy, into: join(work, "images"), hostname });
  const ended = await runRuntime(conf.runtime, restoreArguments(call, { imagePath, workPath: work }), {
    streams: true,
    timeoutMs: conf.restoreSeconds * 1000,
  });
  if (ended.code === 0) return;
  const how = ended.signal === null ? `exit code ${ended.code}` : `ended after ${conf.restoreSeconds} s`;
  const reasons = [...criuErrors(join(work, "restore.log")), lastError(globalValue(call, "log"))].filter(
    (reason) => reason !== "",
  );
  throw new Unfit("RestoreFailed", `restore: ${how}${reasons.length > 0 ? `: ${reasons.join("; ")}` : ""}`);
}

async function check(copy: string): Promise<CopyIndex> {
  try {
    return await checkCopy(copy);
  } catch (error) {
    if (!(error instanceof CopyError)) throw error;
    throw new Unfit(error.corrupt ? "CopyCorrupt" : "CopyMissing", error.message, error.corrupt);
  }
}

interface Look {
  copy: string;
  index: CopyIndex;
  note: HandlerNote | undefined;
  rootfs: string;
}

/** All that can be known before anything is touched. Errors: Unfit. */
function fits({ conf, plan, spec }: Creation, { copy, index, note, rootfs }: Look): void {
  const overlay = overlayAt(rootfs);
  if (overlay === undefined || !isUntouched(overlay)) {
    throw new Unfit(
      "RootfsUnsuitable",
      "the root file system is no fresh overlay: a failed restore could not be undone",
    );
  }
  const dumped = readSpec(join(copy, SPEC_DUMP));
  const isSameNode = note !== undefined && note.node === nodeName();
  const differing = differences(dumped, spec, {
    perPodEnv: plan.perPodEnv,
    lower: isSameNode ? { dumped: note.lowerDirectories, now: overlay.lower } : undefined,
  });
  const decisive =
    plan.onSpecChange === "Restore" ? differing.filter((field) => field === "image") : differing;
  if (decisive.length > 0) {
    throw new Unfit("SpecChanged", `the container was given something else: ${decisive.join(", ")}`);
  }
  const missing = missingMounts(index, spec);
  if (missing.length > 0) {
    throw new Unfit(
      "MountMissing",
      `the checkpoint needs mounts that the container no longer has: ${missing.join(", ")}`,
    );
  }
  const diverging = divergingPath(index, note, spec, plan.volumes, plan.sharedVolumes);
  if (diverging !== undefined) {
    throw new Unfit(
      "VolumeStateDiverges",
      `${diverging} was open for writing on a volume whose files are not part of the checkpoint`,
    );
  }
  const bytes = index.files.filter(({ path }) => isPageData(path)).reduce((sum, { size }) => sum + size, 0);
  const seconds = bytes / 1e6 / conf.readMBPerSecond;
  if (seconds > conf.restoreSeconds) {
    throw new Unfit(
      "RestoreTooLong",
      `${Math.round(bytes / 1e6)} MB would take some ${Math.round(seconds)} s to restore, the limit is ${conf.restoreSeconds} s`,
    );
  }
}

/** By which copies made here are told from those of other nodes: the kernel's name for this host. */
export const nodeName = (): string => readFileSync("/proc/sys/kernel/hostname", "utf8").trim();

function readHandlerNote(copy: string): HandlerNote | undefined {
  const path = join(copy, HANDLER_NOTE);
  if (!existsSync(path) || statSync(path).size > 1 << 20) return undefined;
  try {
    const note = JSON.parse(readFileSync(path, "utf8")) as Partial<HandlerNote> | null;
    const isWhole =
      note?.version === 1 &&
      typeof note.node === "string" &&
      Array.isArray(note.lowerDirectories) &&
      Array.isArray(note.captured) &&
      Array.isArray(note.left) &&
      [...note.captured, ...note.left].every((one) => typeof one?.destination === "string");
    return isWhole ? (note as HandlerNote) : undefined;
  } catch {
    return undefined;
  }
}

/** The last message of the runtime's own log, of which it has one JSON object a line. */
function lastError(log: string | undefined): string {
  if (log === undefined) return "";
  try {
    const lines = readFileSync(log, "utf8").trim().split("\n");
    const { msg } = JSON.parse(lines.at(-1) ?? "") as { msg?: unknown };
    return typeof msg === "string" ? msg.slice(0, 500) : "";
  } catch {
    return "";
  }
}

/** What a restore that went well leaves behind for later calls, and nothing else. */
export function settle({ layout, id }: Creation): void {
  const work = layout.work(id);
  writeFileSync(join(work, "restored"), "", { flush: true });
  for (const name of ["dirty", "images"]) rmSync(join(work, name), { recursive: true, force: true });
}
