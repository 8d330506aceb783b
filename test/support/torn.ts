import { pushImage } from "../../cluster/images.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { capture, crash, deployProtected } from "./runtime.ts";
import { waitFor } from "./wait-for.ts";
import { RARELY, type World } from "./world.ts";

/** Deploys the program that notices when its memory and its files are not of one instant (cluster/programs/torn.c). */
export async function deployTorn(world: World, name: string, node = world.worker("2.4")): Promise<Pod> {
  const image = await pushImage("torn", world.cluster.registry.push);
  return await deployProtected(world, {
    name,
    schedule: RARELY,
    node,
    // One of its own root file system, and one of a volume.
    containers: [
      {
        image,
        command: ["/bin/torn", "/tmp/file", "/data/file"],
        volumeMounts: [{ name: "data", mountPath: "/data" }],
      },
    ],
    podSpec: { volumes: [{ name: "data", emptyDir: {} }] },
  });
}

/** What the program says against itself; undefined while it has nothing to say. */
async function torn(world: World, pod: Pod): Promise<string | undefined> {
  return (await world.exec(pod, ["sh", "-c", "cat /tmp/torn 2>/dev/null || true"])).trim() || undefined;
}

/**
 * Takes a checkpoint of the program in the middle of its work, has it crash and sees that it goes on from there, with
 * memory and files that agree.
 *
 * Returns how far it was when it was last looked at before the checkpoint, and how far it is now. Errors: what it
 * says when they do not agree; a run that began afresh.
 */
export async function crashAndCompare(world: World, pod: Pod): Promise<{ before: number; after: number }> {
  const before = await world.number(pod, "/tmp/count");
  await capture(world, pod);
  await crash(world, pod);
  const after = await waitFor("the program to go on", async () => {
    const why = await torn(world, pod);
    if (why !== undefined) return { why };
    const count = await world.number(pod, "/tmp/count");
    return count !== (await world.number(pod, "/tmp/count")) && { count };
  });
  if ("why" in after) throw new Error(`memory and files do not agree: ${after.why}`);
  if (after.count < before) throw new Error(`it began afresh: ${after.count} steps, after ${before}`);
  return { before, after: after.count };
}
