import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Layout } from "../store/layout.ts";
import type { Call } from "./args.ts";
import type { Conf } from "./conf.ts";
import { undoVolumes } from "./parts/volumes.ts";
import { runRuntime } from "./run.ts";

/**
 * Makes good what a restore that failed has left: of the runtime's state, the volumes, the root file system.
 * Doing it twice, or when nothing was begun, does no harm.
 *
 * Errors: a root file system that cannot be brought back.
 */
export async function undo(given: { conf: Conf; layout: Layout; call: Call; id: string }): Promise<void> {
  const { conf, layout, call, id } = given;
  const work = layout.work(id);
  const mark = join(work, "dirty");
  if (!existsSync(mark)) return;
  const rootfs = readFileSync(mark, "utf8");
  await runRuntime(conf.runtime, [...call.globals, "delete", "--force", id]).catch(() => undefined);
  const volumes = join(work, "volumes.json");
  if (existsSync(volumes)) await undoVolumes(volumes);
  const reset = await runRuntime(join(conf.home, "kcr-runtime"), ["--kcr-reset-overlay", rootfs]);
  if (reset.code !== 0) throw new Error(`${rootfs} could not be brought back to what it was`);
  rmSync(work, { recursive: true, force: true });
}
