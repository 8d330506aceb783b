import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isContainerID, type Layout } from "../store/layout.ts";
import { type Call, DEFAULT_RUNTIME_ROOT, globalValue } from "./args.ts";
import type { Conf } from "./conf.ts";
import { dropFormerFiles, takeBackVolumes } from "./parts/volumes.ts";
import { runRuntime } from "./run.ts";

/** In a restore's working directory: the volumes whose files are being exchanged, a JSON list of directories. */
export const VOLUMES_MARK = "volumes.json";

/** In a restore's working directory: the path of a root file system that is not what it was. */
export const DIRTY_MARK = "dirty";

/** In a restore's working directory, what DIRTY_MARK becomes: the container runs restored. kcr-runtime.c looks for it at `start`. */
export const RESTORED_MARK = "restored";

const sourcesIn = (path: string): string[] =>
  existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as string[]) : [];

/** Ends a restore that went well but for its last steps; false when it did not. */
export function finish(layout: Layout, id: string): boolean {
  const work = layout.work(id);
  if (!existsSync(join(work, RESTORED_MARK))) return false;
  dropFormerFiles(sourcesIn(join(work, VOLUMES_MARK)));
  for (const name of [VOLUMES_MARK, "images"]) rmSync(join(work, name), { recursive: true, force: true });
  return true;
}

/** Of a container that is gone: its volumes are as they were before a restore that was cut off. */
export function settle(layout: Layout, id: string | undefined): void {
  if (!isContainerID(id)) return;
  const work = layout.work(id);
  if (!finish(layout, id)) takeBackVolumes(sourcesIn(join(work, VOLUMES_MARK)));
  rmSync(work, { recursive: true, force: true });
}

/**
 * Makes good what a restore that failed has left: of the runtime's state, the volumes, the root file system.
 * Doing it twice, or when nothing was begun, does no harm.
 *
 * Errors: a root file system that cannot be brought back.
 */
export async function undo(given: { conf: Conf; layout: Layout; call: Call; id: string }): Promise<void> {
  const { conf, layout, call, id } = given;
  const work = layout.work(id);
  const mark = join(work, DIRTY_MARK);
  if (!existsSync(mark)) return;
  const rootfs = readFileSync(mark, "utf8");
  // Or what a restore that was killed has mounted there would be removed with it (see kcr-runtime.c).
  const mounted = join(globalValue(call, "root") ?? DEFAULT_RUNTIME_ROOT, id, "criu-root");
  const detached = await runRuntime(join(conf.home, "kcr-runtime"), ["--kcr-detach", mounted]);
  if (detached.code !== 0) throw new Error(`${mounted} cannot be unmounted`);
  await runRuntime(conf.runtime, [...call.globals, "delete", "--force", id]).catch(() => undefined);
  takeBackVolumes(sourcesIn(join(work, VOLUMES_MARK)));
  const reset = await runRuntime(join(conf.home, "kcr-runtime"), ["--kcr-reset-overlay", rootfs]);
  if (reset.code !== 0) throw new Error(`${rootfs} could not be brought back to what it was`);
  rmSync(work, { recursive: true, force: true });
}
