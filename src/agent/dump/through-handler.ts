import { rm } from "node:fs/promises";
import type { ErrorCode } from "../../api/errors.ts";
import type { CaptureSource } from "../../api/request.ts";
import { criuConfig, parseCriuOptions } from "../../store/criu-options.ts";
import { readIfThere, writeWhole } from "../../store/files.ts";
import type { ContainerKey, Layout } from "../../store/layout.ts";
import { parseUndumped, type Undumped } from "../../store/notes.ts";
import { KubeletError } from "../kubelet.ts";
import { criuError } from "./criu-error.ts";
import type { DumpEngine } from "./engine.ts";

/** Of a pod of class kcr the engine's dump is the handler's: it is told beforehand how, and says why it failed. */
export const throughHandler = (engine: DumpEngine, layout: Layout, now: () => Date): DumpEngine => ({
  async dump(target, source, secondsLeft) {
    if (source.handler === undefined) return await engine.dump(target, source, secondsLeft);
    const key = { podUID: source.lineage.podUID, container: target.container };
    await writeOptions(layout, key, source);
    const began = now();
    try {
      return await engine.dump(target, source, secondsLeft);
    } catch (error) {
      throw (await explained(error, layout, key, source, began)) ?? error;
    }
  },
  settled: (source) => engine.settled(source),
});

async function writeOptions(
  layout: Layout,
  key: ContainerKey,
  { criuOptions }: CaptureSource,
): Promise<void> {
  const path = layout.criuOptions(key);
  const parsed = parseCriuOptions(criuOptions ?? "");
  if (parsed.type === "refused" || parsed.options.length === 0) await rm(path, { force: true });
  else await writeWhole(path, criuConfig(parsed.options));
}

/** What the handler has seen in CRIU's log, where the kubelet says no more than that CRIU failed. */
async function explained(
  error: unknown,
  layout: Layout,
  key: ContainerKey,
  { lineage }: CaptureSource,
  began: Date,
): Promise<KubeletError | undefined> {
  const vague: ErrorCode = "CheckpointFailed";
  if (!(error instanceof KubeletError) || error.code !== vague) return undefined;
  const text = await readIfThere(layout.undumped(key));
  const note = text === undefined ? undefined : parseUndumped(text);
  if (note === undefined || !isOf(note, lineage.containerID, began)) return undefined;
  const { code, message, retries } = criuError(note.errors) ?? {
    code: vague,
    message: note.errors.at(-1) ?? error.message,
    retries: error.retries,
  };
  return new KubeletError(code, message, retries, { cause: error });
}

/** Handler and agent read the same clock, to the millisecond. */
const isOf = (note: Undumped, containerID: string, began: Date): boolean =>
  note.containerID === containerID && Date.parse(note.time) >= began.getTime();
