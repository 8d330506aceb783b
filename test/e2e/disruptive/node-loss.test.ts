import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { ARCHIVE_FINALIZER, type Checkpoint } from "../../../src/api/checkpoint.ts";
import { findCondition } from "../../../src/api/conditions.ts";
import { checkpoints, requests } from "../../../src/api/kinds.ts";
import { namespaces, nodes, type Pod, pods } from "../../../src/kube/resources.ts";
import { absent } from "../../../src/kube/write.ts";
import { ARCHIVES, Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, deployProtected, handlersReady, KCR } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, redis, redisCommand, World } from "../../support/world.ts";

const cluster = inject("cluster");
/** Large enough that its archive is not written in a moment. */
const LARGE_BYTES = 200_000_000;

describe.skipIf(cluster === undefined)("a node that dies", () => {
  let world: World;
  /** Another namespace. */
  let goes: World;
  let kcr: Installation;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "stays");
    goes = await World.enter(cluster!, "goes");
    kcr = new Installation(goes);
    node = world.worker("2.4");
    await handlersReady(world, node);
  });
  afterAll(async () => {
    await world.cluster.startNode(node);
    await world.cluster.startPart("registry");
    await world.cluster.waitReady({ timeoutMs: 180_000 });
    await kcr.whole();
    await world.leave();
    goes.client.close();
  });

  const onNode = (...argv: string[]) => world.cluster.nodeExec(node, argv);
  const readiness = async () => {
    const { status } = await world.client.get(nodes, { name: node });
    return status?.conditions?.find(({ type }) => type === "Ready")?.status;
  };
  const request = (name: string) => world.client.get(requests, { namespace: world.namespace, name });
  const digestOf = ({ status }: Checkpoint) => status?.digest?.replace("sha256:", "") ?? "";

  /** A Checkpoint with an archive, for there was no registry; it has a copy. */
  async function unpushed(pod: Pod): Promise<Checkpoint> {
    await world.cluster.stopPart("registry");
    const { metadata } = await goes.checkpoint(pod);
    return await waitFor("the Checkpoint to have a copy and no image", async () => {
      const checkpoint = await goes.client.get(checkpoints, metadata);
      return findCondition(checkpoint.status?.conditions, "ImagePushed")?.status === "False" && checkpoint;
    });
  }

  it("keeps no namespace, for more than a minute; it comes back, goes on, and clears away what it had of that", async () => {
    const containers = [carrier(world)];
    const stays = await deployProtected(world, { name: "stays", schedule: RARELY, node, containers });
    await advance(world, stays);
    const older = await capture(world, stays);
    await capture(world, stays);
    const large = { name: "goes", schedule: RARELY, node, containers: [redis(goes)] };
    const pod = await deployProtected(goes, large);
    const pushed = await capture(goes, pod);
    const kept = await unpushed(pod);
    const ip = pod.status?.podIP ?? "";
    await redisCommand(ip, `SETRANGE large ${LARGE_BYTES - 1} x`, 20_000);

    // Its power goes while the second archive is written.
    const archives = `ls ${ARCHIVES} | grep -c ${pod.metadata.name}`;
    const begun = kcr.onceOn(node, `[ $(${archives}) -ge 2 ]`, "true");
    await goes.ask("cut", { podReference: { name: pod.metadata.name } });
    await begun;
    await world.cluster.stopNode(node, { kill: true });
    await world.cluster.startPart("registry");
    // Nobody has noticed yet.
    await world.ask("across", { podReference: { name: stays.metadata.name } });
    await world.client.delete(checkpoints, older.metadata);
    await waitFor("the node not to be heard of", async () => (await readiness()) === "Unknown", {
      timeoutMs: 120_000,
    });
    // Given to the node, or held for it, if whoever leads did so from there.
    const isPending = async () => (await request("across")).status?.phase === "Pending";
    await waitFor("the request of a node that is dead to wait", isPending);
    await waitFor("a Checkpoint to go that was deleted before", async () => {
      return (await world.client.get(checkpoints, older.metadata).catch(absent)) === undefined;
    });
    await world.ask("late", { podReference: { name: stays.metadata.name }, timeoutSeconds: 10 });

    const deleted = Date.now();
    const { namespace } = goes;
    for (const { metadata } of [pushed, kept]) {
      expect((await goes.client.get(checkpoints, metadata)).metadata.finalizers).toContain(ARCHIVE_FINALIZER);
    }
    await goes.client.delete(namespaces, { name: namespace });
    // What is Kubernetes' own on such a node a person has to let go of.
    await goes.client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
    await waitFor(
      "the namespace to be gone",
      async () => (await goes.client.get(namespaces, { name: namespace }).catch(absent)) === undefined,
      { timeoutMs: 120_000 },
    );
    expect(Date.now() - deleted).toBeLessThan(60_000);
    expect(await kcr.layersOf(pushed)).toBeUndefined();
    expect(findCondition((await request("late")).status?.conditions, "Accepted")).toMatchObject({
      reason: "NodeNotReady",
    });
    const { status } = await world.ended("late");
    expect(status).toMatchObject({ phase: "Failed", reason: "DeadlineExceeded" });
    expect(status?.message).toContain(`node ${node} was not ready`);

    await world.cluster.startNode(node);
    await world.cluster.waitReady({ timeoutMs: 180_000 });
    await waitFor("the container to run again", async () => (await mark(world, stays)) === 1, {
      timeoutMs: 120_000,
    });
    await world.ended("across");
    await waitFor("its archives to go", async () => (await kcr.ownArchives(node)).length === 0);
    for (const checkpoint of [pushed, kept]) {
      const copy = KCR.copy(digestOf(checkpoint));
      await waitFor("its copy to go", () =>
        onNode("ls", copy).then(
          () => false,
          () => true,
        ),
      );
    }
    const left = await onNode("sh", "-c", `grep -rl ${namespace} ${KCR.allBegun} ${KCR.plans} || true`);
    expect(left).toBe("");
    expect(await onNode("sh", "-c", `ls ${KCR.plans} ${KCR.runs}`)).not.toContain(pod.metadata.uid);
  });
});
