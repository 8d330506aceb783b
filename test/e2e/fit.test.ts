import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type Facts, fitsValue, readFacts } from "../../src/api/facts.ts";
import { checkpoints, requests } from "../../src/api/kinds.ts";
import { FACTS_ANNOTATION, FITS_LABEL } from "../../src/api/labels.ts";
import { type Node, nodes } from "../../src/kube/resources.ts";
import { capture, deployProtected, handlersReady, planned, planOf } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { count, counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

/** Facts that somebody else sees on the nodes, and what follows from them. */
describe.skipIf(cluster === undefined)("what decides where a checkpoint fits", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "fit");
    await handlersReady(world);
  });
  afterAll(() => world.leave());

  /** The node, once its agent has seen something dumped there: its self-test, at the latest. */
  const told = (name: string, is: (facts: Facts, node: Node) => boolean = () => true) =>
    waitFor(`facts of ${name}`, async () => {
      const node = await world.client.get(nodes, { name });
      const facts = readFacts(node);
      return facts?.criu !== undefined && is(facts, node) && { node, facts };
    });

  it("is written on each node, agrees with what the node says itself, and stays", async () => {
    const labels = new Set<string | undefined>();
    for (const { name, containerd } of world.cluster.nodes) {
      const script = [
        "uname -r; getconf PAGESIZE; stat -fc %T /sys/fs/cgroup; criu --version | head -n 1",
        "grep -m 1 -E '^(flags|Features)' /proc/cpuinfo",
      ].join("; ");
      const said = (await world.cluster.nodeExec(name, ["sh", "-c", script])).trim().split("\n");
      const [kernel, pageSize, mount, criu = "", flags = ""] = said;
      const { node, facts } = await told(name);
      const { architecture } = node.status?.nodeInfo ?? {};
      expect(facts).toMatchObject({
        architecture,
        kernel,
        pageSize: Number(pageSize),
        cgroup: mount === "cgroup2fs" ? "v2" : "v1",
        criu: criu.replace("Version: ", ""),
        engine: "containerd",
        engineVersion: expect.stringMatching(`^${containerd}\\.`),
        runtime: "runc",
      });
      const can = new Set(flags.split(/\s+/));
      const features = facts.cpuFeatures?.split(" ") ?? [];
      expect(features.length).toBeGreaterThan(10);
      expect(features.filter((feature) => !can.has(feature))).toEqual([]);
      if (architecture === "amd64") expect(facts.xsave?.size).toBeGreaterThanOrEqual(576);
      labels.add(node.metadata.labels?.[FITS_LABEL]);
      expect(node.metadata.labels?.[FITS_LABEL]).toBe(fitsValue(facts));
    }
    expect(labels.size, "of nodes that are one machine").toBe(1);

    const name = world.worker("2.3");
    const { facts } = await told(name);
    const body = {
      metadata: {
        labels: { [FITS_LABEL]: "elsewhere" },
        annotations: { [FACTS_ANNOTATION]: JSON.stringify({ ...facts, cpuFeatures: "" }) },
      },
    };
    await world.client.patch(nodes, { name }, { type: "merge", body });
    await told(
      name,
      ({ cpuFeatures }, { metadata }) =>
        cpuFeatures === facts.cpuFeatures && metadata.labels?.[FITS_LABEL] === fitsValue(facts),
    );
  });

  it("is recorded in a Checkpoint, and one that does not fit the node is not restored there", async () => {
    const node = world.worker("2.4");
    const pod = await deployProtected(world, { schedule: RARELY, node, containers: [counter(world)] });
    const checkpoint = await capture(world, pod);
    const { environment } = checkpoint.status ?? {};
    expect(environment).toEqual((await told(node)).facts);

    // All nodes here share one processor, and what agents write on them stays true: so the difference is made by
    // hand, in what the Checkpoint says of where it was taken.
    const { cpuFeatures = "" } = environment ?? {};
    const claim = (features: string) =>
      world.client.patch(
        checkpoints,
        checkpoint.metadata,
        { type: "merge", body: { status: { environment: { cpuFeatures: features } } } },
        { subresource: "status" },
      );
    await claim(`${cpuFeatures} made_up_by_hand`);
    const left = await world.event("NodeDiffers", pod.metadata.name);
    expect(left.note).toContain(
      "CPU features (made_up_by_hand at the checkpoint, none of these on the node)",
    );
    expect((await planOf(world, pod))?.candidates).toEqual([]);

    const before = await world.container(pod);
    const counted = await count(world, pod);
    const asked = (await world.client.list(requests, { namespace: world.namespace })).items.length;
    const restore = await world.goBack("back", {
      checkpointName: checkpoint.metadata.name,
      podReference: { name: pod.metadata.name },
    });
    expect(restore.status).toMatchObject({
      phase: "Failed",
      reason: "NodeDiffers",
      message: expect.stringContaining("made_up_by_hand at the checkpoint, none of these on the node"),
    });
    expect(await world.container(pod)).toEqual(before);
    await waitFor("the counter to go on", async () => (await count(world, pod)) > counted);
    expect((await world.client.list(requests, { namespace: world.namespace })).items).toHaveLength(asked);

    await claim(cpuFeatures);
    await planned(world, pod, checkpoint);
  });
});
