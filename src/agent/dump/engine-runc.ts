import type { ErrorCode } from "../../api/errors.ts";
import type { CaptureSource } from "../../api/request.ts";
import { type DumpTools, directDump, recover, unfinished } from "../../engine/dump.ts";
import { DumpError, type DumpReason } from "../../engine/error.ts";
import type { Logger } from "../../kube/log.ts";
import { delay } from "../../kube/signals.ts";
import { criuConfig, parseCriuOptions } from "../../store/criu-options.ts";
import type { Archives } from "../archives.ts";
import { DISK_ERRORS, type Target } from "../kubelet.ts";
import { CHANCE, criuError } from "./criu-error.ts";
import { type DumpEngine, EngineError } from "./engine.ts";

/** Where kcr's image has the program of kcr-dump.c. */
export const DUMP_PROGRAM = "/opt/kcr/kcr-dump";

export interface RuncOptions {
  tools: DumpTools;
  archives: Archives;
  maxPauseSeconds: number;
  now: () => Date;
  log: Logger;
}

/** Longest wait for a process that is not the container's own to leave it. */
const FOREIGN_SECONDS = 60;
/** What is left of a request's time for the dump itself when that wait is over. */
const RESERVE_SECONDS = 10;
/** How often to look whether another agent's dump has ended, in milliseconds. */
const LOOK_MS = 200;

/** Dumps by the node's runtime itself, in a program that outlives this one: see src/engine/dump.ts. */
export class RuncEngine implements DumpEngine {
  readonly #options: RuncOptions;
  readonly #active = new Set<string>();

  constructor(options: RuncOptions) {
    this.#options = options;
  }

  async dump(target: Target, source: CaptureSource, secondsLeft: number): Promise<string> {
    const { tools, archives, maxPauseSeconds, now, log } = this.#options;
    const id = source.lineage.containerID;
    const name = archiveOf(target, now());
    this.#active.add(id);
    try {
      await directDump(tools, {
        id,
        archive: archives.path(name),
        waitMs: Math.max(1, Math.min(FOREIGN_SECONDS, secondsLeft - RESERVE_SECONDS)) * 1000,
        pauseMs: maxPauseSeconds * 1000,
        criuConfig: criuConfigFor(source),
        now,
        onStep: (step) => log.debug({ ...target, step }, "a direct dump goes on"),
      });
      return name;
    } catch (error) {
      throw error instanceof DumpError ? engineError(error) : error;
    } finally {
      this.#active.delete(id);
    }
  }

  async settled({ lineage }: CaptureSource): Promise<boolean> {
    try {
      return (await recover(this.#options.tools, lineage.containerID)) === "clean";
    } catch (error) {
      // What cannot be undone fails the dump that comes next, which says so to whoever asked for it.
      if (error instanceof DumpError) return true;
      throw error;
    }
  }

  /**
   * Takes up what was left behind when an agent before this was killed: what is still being dumped is waited for,
   * what was given up is undone. Errors: none; what cannot be undone is logged, and tried again with the next dump.
   */
  async recover(signal: AbortSignal): Promise<void> {
    const { tools, log } = this.#options;
    let left = await unfinished(tools);
    while (left.length > 0 && !signal.aborted) {
      const busy: string[] = [];
      for (const container of left) {
        if (this.#active.has(container)) continue;
        try {
          if ((await recover(tools, container)) === "busy") busy.push(container);
          else log.info({ container }, "a dump that was left behind is over");
        } catch (err) {
          log.error({ container, err }, "a dump that was left behind cannot be undone");
        }
      }
      left = busy;
      if (left.length > 0) await delay(LOOK_MS, signal).catch(() => {});
    }
  }
}

/** Of class kcr the runtime that is called is the handler, which knows it already (through-handler.ts). */
function criuConfigFor({ handler, criuOptions = "" }: CaptureSource): string | undefined {
  const parsed = parseCriuOptions(criuOptions);
  if (handler !== undefined || parsed.type === "refused" || parsed.options.length === 0) return undefined;
  return criuConfig(parsed.options);
}

/** A name like the kubelet's: `checkpoint-<pod>_<namespace>-<container>-<RFC 3339>.tar`. */
export const archiveOf = ({ namespace, pod, container }: Target, at: Date): string =>
  `checkpoint-${pod}_${namespace}-${container}-${at.toISOString()}.tar`;

const REASONS: Readonly<Record<Exclude<DumpReason, "Runtime">, readonly [ErrorCode, retries: number]>> = {
  Gone: ["ContainerNotRunning", 0],
  Foreign: ["ForeignProcess", 0],
  Paused: ["CheckpointFailed", CHANCE],
  NotFrozen: ["ProcessBusy", CHANCE],
  Files: ["FilesUnsuitable", 0],
  TooLong: ["PauseTooLong", 0],
  Pack: ["CheckpointFailed", CHANCE],
  NotThawed: ["PauseStuck", 0],
  Killed: ["CheckpointFailed", CHANCE],
  // Of an agent that was killed: its archive is this one's.
  Busy: ["CheckpointFailed", Number.POSITIVE_INFINITY],
  Unsupported: ["EngineUnavailable", 0],
  NoHost: ["EngineUnavailable", 0],
};

/** What a failed dump means to a person. */
export function engineError(error: DumpError): EngineError {
  const { reason, message, errors } = error;
  const said = [message, ...errors].join("\n");
  const disk = DISK_ERRORS.find(([, pattern]) => pattern.test(said));
  if (disk !== undefined) return new EngineError(disk[0], message, 0, { cause: error });
  if (reason !== "Runtime") {
    const [code, retries] = REASONS[reason];
    return new EngineError(code, message, retries, { cause: error });
  }
  const failure = criuError(errors);
  if (failure === undefined) return new EngineError("CheckpointFailed", message, CHANCE, { cause: error });
  return new EngineError(failure.code, failure.message, failure.retries, { cause: error });
}
