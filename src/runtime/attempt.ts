import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { failureOf } from "../archive/criu/failures.ts";
import {
  CHECKPOINT_DIRECTORY,
  type CopyIndex,
  CRIU_CONFIG,
  type HandlerNote,
  isPageData,
  SPEC_DUMP,
} from "../store/copy.ts";
import { criuConfig as configOf, readCriuConfig, restoreFlags } from "../store/criu-options.ts";
import type { Layout } from "../store/layout.ts";
import type { Failure } from "../store/notes.ts";
import type { Candidate, Plan } from "../store/plan.ts";
import { type Call, globalValue, restoreArguments } from "./args.ts";
import type { Conf } from "./conf.ts";
import { isUntouched, overlayAt } from "./overlay.ts";
import { checkCopy } from "./parts/copy-check.ts";
import { PartError } from "./parts/errors.ts";
import { differences } from "./parts/fit.ts";
import { hostnameOf, imagesWithHostname } from "./parts/hostname.ts";
import { MARKER_VERSION, writeMarker } from "./parts/marker.ts";
import { divergingPath, missingMounts } from "./parts/mounts.ts";
import { readHandlerNote } from "./parts/note.ts";
import { readSmall } from "./parts/open-file.ts";
import { makePivotPlace } from "./parts/pivot.ts";
import { applyRootfsDiff } from "./parts/rootfs.ts";
import { type RuntimeSpec, readSpec } from "./parts/spec.ts";
import { toolsOf } from "./parts/tools.ts";
import { type PutBack, putBackVolumes, sourcesOf } from "./parts/volumes.ts";
import { criuErrors } from "./restore-log.ts";
import { runRestore } from "./run.ts";
import { DIRTY_MARK, RESTORED_MARK, undo, VOLUMES_MARK } from "./undo.ts";

/** One `create` that is to become a restore. */
export interface Creation {
  conf: Conf;
  layout: Layout;
  call: Call;
  plan: Plan;
  id: string;
  bundle: string;
  spec: RuntimeSpec;
  /** When it has to be over, by `performance.now()`; `signal` aborts then. */
  deadline: number;
  signal: AbortSignal;
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
  } catch (given) {
    await undo(creation);
    const { signal, conf } = creation;
    const isLate = signal.aborted && given === signal.reason;
    const error = isLate
      ? new Unfit("RestoreTooLong", `it was not over after ${conf.restoreSeconds} s`)
      : given;
    const known = error instanceof Unfit || error instanceof PartError ? error : undefined;
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
  const { conf, layout, call, plan, id, spec, signal } = creation;
  const copy = layout.copy(candidate.copy);
  const index = await checkCopy(copy, signal);
  const note = ownVolumes(await readHandlerNote(copy), plan);
  const rootfs = resolve(creation.bundle, spec.root.path);
  await fits(creation, { copy, index, note, rootfs });

  const tools = toolsOf(join(conf.home, "kcr-runtime"));
  const work = layout.work(id);
  mkdirSync(work, { recursive: true, mode: 0o700 });
  // From here on there is something to undo, whoever comes to do it.
  writeFileSync(join(work, DIRTY_MARK), rootfs, { flush: true });
  await applyRootfsDiff({ copyDir: copy, engine: index.engine, rootfs, tools, signal });
  if (spec.root.readonly) makePivotPlace(rootfs);
  const now = new Date();
  writeMarker(rootfs, {
    version: MARKER_VERSION,
    from: candidate.checkpoint,
    to: id,
    pod: plan.pod,
    takenTime: candidate.takenTime,
    ageSeconds: Math.max(0, Math.round((now.getTime() - Date.parse(candidate.takenTime)) / 1000)),
    restoredTime: now.toISOString(),
    perPodEnv: plan.perPodEnv,
  });
  using undoing = new DisposableStack();
  let volumes: PutBack | undefined;
  if (note !== undefined && plan.volumes === "Capture") {
    writeFileSync(join(work, VOLUMES_MARK), JSON.stringify(sourcesOf(note, spec)), { flush: true });
    volumes = await putBackVolumes({ copyDir: copy, note, spec, tools, signal });
    undoing.defer(() => volumes?.undo());
  }
  const hostname = await hostnameOf(spec);
  const imagePath =
    hostname === undefined
      ? join(copy, CHECKPOINT_DIRECTORY)
      : await imagesWithHostname({ copyDir: copy, into: join(work, "images"), hostname });
  const { more, criuConfig } = await optionsOf(copy, work);
  const args = restoreArguments(call, { imagePath, workPath: work, more });
  const ended = await runRestore(conf, args, signal, criuConfig);
  if (ended.code === 0) {
    undoing.move();
    // From here on it is restored, whatever is killed when. No room on the disk is needed for that.
    renameSync(join(work, DIRTY_MARK), join(work, RESTORED_MARK));
    try {
      volumes?.keep();
      for (const name of [VOLUMES_MARK, "images"]) rmSync(join(work, name), { recursive: true, force: true });
    } catch {
      // It runs. What is left goes with the container (see `settle`).
    }
    return;
  }
  signal.throwIfAborted();
  const how = ended.signal === null ? `exit code ${ended.code}` : `killed by ${ended.signal}`;
  const lines = criuErrors(join(work, "restore.log"));
  const failure = failureOf(lines);
  const said =
    failure === undefined ? [...lines.slice(-3), lastError(globalValue(call, "log"))] : [failure.line];
  const reasons = said.filter((line) => line !== "").map((line) => `: ${line}`);
  throw new Unfit(failure?.code ?? "RestoreFailed", `restore: ${how}${reasons.join("")}`);
}

/** With which options of CRIU's the checkpoint was made: a restore has to be, too. Errors: Unfit. */
async function optionsOf(copy: string, work: string): Promise<{ more: string[]; criuConfig?: string }> {
  const path = join(copy, CRIU_CONFIG);
  if (!existsSync(path)) return { more: [] };
  const options = readCriuConfig(await readSmall(path, 4096));
  if (options === undefined) throw new Unfit("ArchiveInvalid", `${CRIU_CONFIG} is not of kcr's making`);
  const criuConfig = join(work, "criu.conf");
  writeFileSync(criuConfig, configOf(options), { mode: 0o600 });
  return { more: restoreFlags(options), criuConfig };
}

interface Look {
  copy: string;
  index: CopyIndex;
  note: HandlerNote | undefined;
  rootfs: string;
}

/** All that can be known before anything is touched. Errors: Unfit. */
async function fits(
  { conf, plan, spec, deadline }: Creation,
  { copy, index, note, rootfs }: Look,
): Promise<void> {
  const overlay = overlayAt(rootfs);
  if (overlay === undefined || !isUntouched(overlay)) {
    throw new Unfit(
      "RootfsUnsuitable",
      "the root file system is no fresh overlay: a failed restore could not be undone",
    );
  }
  const dumped = await readSpec(join(copy, SPEC_DUMP));
  const isSameNode = note !== undefined && note.node === nodeName();
  const differing = differences(dumped, spec, {
    perPodEnv: plan.perPodEnv,
    lowerDirectories: isSameNode ? { dumped: note.lowerDirectories, now: overlay.lower } : undefined,
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
  const diverging = divergingPath(index, note, spec, plan.volumes);
  if (diverging !== undefined) {
    throw new Unfit(
      "VolumeStateDiverges",
      `${diverging} was open for writing on a volume whose files are not part of the checkpoint`,
    );
  }
  const bytes = index.files.filter(({ path }) => isPageData(path)).reduce((sum, { size }) => sum + size, 0);
  const seconds = bytes / 1e6 / conf.readMBPerSecond;
  if (seconds * 1000 > deadline - performance.now()) {
    throw new Unfit(
      "RestoreTooLong",
      `${Math.round(bytes / 1e6)} MB would take some ${Math.round(seconds)} s to restore, the limit is ${conf.restoreSeconds} s`,
    );
  }
}

/** By which copies made here are told from those of other nodes: the kernel's name for this host. */
export const nodeName = (): string => readFileSync("/proc/sys/kernel/hostname", "utf8").trim();

/** Without the volumes that other containers of the pod use too: those live on, with the files of now. */
function ownVolumes(note: HandlerNote | undefined, { sharedVolumes = [] }: Plan): HandlerNote | undefined {
  return note && { ...note, captured: note.captured.filter(({ name }) => !sharedVolumes.includes(name)) };
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
