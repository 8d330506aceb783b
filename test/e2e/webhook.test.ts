import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { RUNTIME_LABEL, RUNTIME_READY } from "../../src/api/labels.ts";
import { STRATEGY } from "../../src/api/pod.ts";
import { nodes, type Pod } from "../../src/kube/resources.ts";
import { PLAIN_CLASS } from "../support/install.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("new pods of protected workloads", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "webhook");
    await waitFor("a node whose handler has passed its self-test", async () => {
      const { items } = await world.client.list(nodes);
      return items.some(({ metadata }) => metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY);
    });
  });
  afterAll(() => world.leave());

  const deploy = (name: string, options: { schedule?: string; podSpec?: object } = {}): Promise<Pod> => {
    const { schedule = RARELY, podSpec } = options;
    const unpinned = { nodeName: undefined, ...podSpec };
    return world.deploy({ name, schedule, by: "handler", containers: [counter(world)], podSpec: unpinned });
  };

  it("have the class, the very first one too, and run where the handler is ready", async () => {
    const pod = await deploy("first");
    expect(pod.spec?.runtimeClassName).toBe("kcr");
    expect(pod.spec?.nodeSelector).toEqual({ [RUNTIME_LABEL]: RUNTIME_READY });
    const node = await world.client.get(nodes, { name: pod.spec?.nodeName ?? "" });
    expect(node.metadata.labels).toMatchObject({ [RUNTIME_LABEL]: RUNTIME_READY });
    const condition = await waitFor("the pod's strategy", async () =>
      (await world.pod(pod.metadata.name)).status?.conditions?.find(({ type }) => type === STRATEGY),
    );
    expect(condition).toMatchObject({ status: "True", reason: "HandlerClass" });
    const { conditions } = await waitFor("the schedule's strategy", async () => {
      const { status } = await world.schedule("first");
      return status?.conditions?.some(({ type }) => type === "Strategy") && status;
    });
    expect(conditions?.find(({ type }) => type === "Strategy")).toMatchObject({ reason: "HandlerClass" });
  });

  it("keep a class of their own", async () => {
    const pod = await deploy("own", { podSpec: { runtimeClassName: PLAIN_CLASS } });
    expect(pod.spec?.runtimeClassName).toBe(PLAIN_CLASS);
  });

  it("stay as they are and run, where the handler could not restore them", async () => {
    const pod = await deploy("shared", { podSpec: { shareProcessNamespace: true } });
    expect(pod.spec?.runtimeClassName).toBeUndefined();
    const condition = await waitFor("the pod's strategy", async () =>
      (await world.pod(pod.metadata.name)).status?.conditions?.find(({ type }) => type === STRATEGY),
    );
    expect(condition?.reason).not.toBe("HandlerClass");
  });

  it("of nothing that is protected are left alone", async () => {
    const pod = await world.deploy({
      name: "plain",
      by: "handler",
      containers: [counter(world)],
      podSpec: { nodeName: undefined },
    });
    expect(pod.spec?.runtimeClassName).toBeUndefined();
  });
});
