import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Checkpoint } from "../../../src/api/checkpoint.ts";
import { checkpoints } from "../../../src/api/kinds.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { CORRUPT_MARK } from "../../../src/store/copy.ts";
import { Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, KCR, planned } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("of a node's copies,", () => {
  let world: World;
  let kcr: Installation;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "damage");
    kcr = new Installation(world);
    node = world.worker("2.4");
    await handlersReady(world, node);
  });
  afterAll(() => world.leave());

  const deploy = (name: string): Promise<Pod> =>
    deployProtected(world, { name, schedule: RARELY, node, containers: [carrier(world)] });

  const copyOf = ({ status }: Checkpoint) => KCR.copy(status!.digest!.replace("sha256:", ""));
  const onNode = (...argv: string[]) => world.cluster.nodeExec(node, argv);
  const digest = (path: string) => kcr.digest(node, path);

  /** Changes one bit in the middle of a file. */
  async function flip(path: string): Promise<void> {
    const script = `
      at=$(($(stat -c %s "$0") / 2))
      byte=$(dd if="$0" bs=1 skip=$at count=1 status=none | od -An -tu1)
      printf "$(printf '\\\\%03o' $((byte ^ 1)))" | dd of="$0" bs=1 seek=$at conv=notrunc status=none`;
    const before = await digest(path);
    await onNode("sh", "-euc", script, path);
    expect(await digest(path)).not.toBe(before);
  }

  it("one whose pages are damaged is found by the scrub, and made anew from the registry", async () => {
    const pod = await deploy("pages");
    await advance(world, pod);
    const checkpoint = await capture(world, pod);
    await advance(world, pod);
    const pages = `${copyOf(checkpoint)}/checkpoint/pages-1.img`;
    const before = await digest(pages);
    await flip(pages);

    const scrub = ["/usr/bin/node", "/opt/kcr/agent.mjs", "scrub"];
    const { metadata } = await kcr.agent(node);
    const said = await world.cluster.kubectl(["-n", kcr.namespace, "exec", metadata.name, "--", ...scrub]);
    expect(said).toContain((checkpoint.status?.digest ?? "").replace("sha256:", ""));
    await waitFor("the copy to be whole again", async () => (await digest(pages)) === before, {
      timeoutMs: 120_000,
    });

    await planned(world, pod, checkpoint);
    await crash(world, pod);
    expect(await mark(world, pod)).toBe(1);
  });

  it("one that is damaged elsewhere is found before the restore: the next is taken, and it is made anew", async () => {
    const pod = await deploy("elsewhere");
    await advance(world, pod);
    const older = await capture(world, pod);
    await advance(world, pod);
    const newer = await capture(world, pod);
    // What is the same in both has one content on the node's disk: a second name in the copy, a third in the other.
    const own = ["-type", "f", "-links", "2", "!", "-name", "pages-*", "!", "-name", "copy.json"];
    const [file = ""] = (await onNode("find", copyOf(newer), ...own)).split("\n");
    const before = await digest(file);
    await flip(file);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(1);
    const { note } = await world.event("Restored", pod.metadata.name);
    expect(note).toContain(older.metadata.name);
    expect((await world.event("RestoreFailed", pod.metadata.name)).note).toContain("CopyCorrupt");
    await waitFor("the copy to be whole again", async () => (await digest(file)) === before, {
      timeoutMs: 120_000,
    });
    await expect(onNode("ls", `${copyOf(newer)}/${CORRUPT_MARK}`)).rejects.toThrow();
  });

  it("the only one is damaged: the container begins afresh, and an Event says why", async () => {
    const pod = await deploy("only");
    await advance(world, pod);
    const checkpoint = await capture(world, pod);
    await flip(`${copyOf(checkpoint)}/checkpoint/core-1.img`);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(0);
    for (const about of [pod.metadata.name, "only"]) {
      expect((await world.event("RestoreFailed", about)).note).toContain("CopyCorrupt");
      await world.event("StartedFresh", about);
    }
  });

  it("one for which there is no room is not made: its Checkpoint says so, and the one before is restored", async () => {
    const pod = await deploy("full");
    await advance(world, pod);
    const older = await capture(world, pod);
    await advance(world, pod);
    await kcr.withFullDisk(node, KCR.tmp, async () => {
      const { status } = await world.request("full", { podReference: { name: pod.metadata.name } });
      const name = status?.checkpoint?.name ?? "";
      const newer = await waitFor("the Checkpoint to say why there is no copy", async () => {
        const checkpoint = await world.client.get(checkpoints, { namespace: world.namespace, name });
        const { conditions = [], digest } = checkpoint.status ?? {};
        // The digest comes with the image, which is made at the same time.
        return conditions.some(({ reason }) => reason === "DiskFull") && digest !== undefined && checkpoint;
      });
      await world.event("DiskFull", name);
      await expect(onNode("ls", copyOf(newer))).rejects.toThrow();

      await planned(world, pod, older);
      await crash(world, pod);
      expect(await mark(world, pod)).toBe(1);
    });
    expect(await onNode("ls", KCR.tmp)).toBe("");
  });
});
