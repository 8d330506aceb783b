import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { RUNTIME_LABEL, RUNTIME_READY } from "../../../src/api/labels.ts";
import { parseQuantity } from "../../../src/kube/quantity.ts";
import {
  daemonSets,
  deployments,
  mutatingWebhookConfigurations,
  nodes,
  type Pod,
  pods,
} from "../../../src/kube/resources.ts";
import { Installation } from "../../support/installation.ts";
import { waitFor } from "../../support/wait-for.ts";
import { counter, RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("new pods of protected workloads", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "webhook");
    kcr = new Installation(world);
    await kcr.whole();
    await allReady();
  });
  afterAll(async () => {
    await kcr.whole();
    await allReady();
    await world.leave();
  });

  const isReady = async (name: string): Promise<boolean> =>
    (await world.client.get(nodes, { name })).metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY;
  const allReady = () =>
    waitFor(
      "the handler to be ready on all nodes",
      async () => (await Promise.all(world.cluster.nodes.map(({ name }) => isReady(name)))).every(Boolean),
      { timeoutMs: 120_000 },
    );
  const deploy = (name: string, node?: string, podSpec: object = {}): Promise<Pod> =>
    world.deploy({
      name,
      schedule: RARELY,
      by: "handler",
      containers: [counter(world)],
      podSpec: { nodeName: node, ...podSpec },
    });

  it("never wait for the handler where only some nodes have it", async () => {
    const [without, other] = [world.worker("2.3"), world.worker("2.4")];
    const agents = { namespace: kcr.namespace, name: "kcr-agent" };
    const { spec } = await world.client.get(daemonSets, agents);
    const selector = (nodeSelector: object) =>
      world.client.patch(daemonSets, agents, {
        type: "json",
        body: [{ op: "replace", path: "/spec/template/spec/nodeSelector", value: nodeSelector }],
      });
    // Without agents nobody takes the label for the node's own.
    await selector({ "kcr.test/nowhere": "true" });
    try {
      await waitFor("the agents to be gone", async () => {
        const { status } = await world.client.get(daemonSets, agents);
        return status?.currentNumberScheduled === 0 && status.numberMisscheduled === 0;
      });
      const labels = { [RUNTIME_LABEL]: null };
      await world.client.patch(nodes, { name: without }, { type: "merge", body: { metadata: { labels } } });
      // The webhook learns of it a moment later.
      const pinned = await waitFor("a pod of the node to run without the class", async () => {
        const pod = await deploy(`pinned-${count++}`, without);
        return pod.spec?.runtimeClassName === undefined && pod;
      });
      expect(pinned.spec?.nodeName).toBe(without);

      const selected = await deploy("selected", undefined, {
        nodeSelector: { "kubernetes.io/hostname": without },
      });
      expect([selected.spec?.runtimeClassName, selected.spec?.nodeName]).toEqual([undefined, without]);

      const free = await deploy("free");
      expect([free.spec?.runtimeClassName, free.spec?.nodeName]).toEqual(["kcr", other]);

      // More than fits on one node, whoever makes them at once.
      const { status } = await world.client.get(nodes, { name: other });
      const cpu = Math.floor(parseQuantity(status?.allocatable?.["cpu"] ?? "") * 400);
      const resources = { requests: { cpu: `${cpu}m` } };
      const pod = await world.deploy({
        name: "many",
        schedule: RARELY,
        by: "handler",
        containers: [{ ...counter(world), resources }],
        podSpec: { nodeName: undefined },
      });
      expect(pod.spec?.runtimeClassName).toBe("kcr");
      const many = { namespace: world.namespace, name: "many" };
      await world.client.patch(deployments, many, { type: "merge", body: { spec: { replicas: 4 } } });
      await waitFor("all replicas to run, on both nodes", async () => {
        const { status } = await world.client.get(deployments, many);
        return status?.readyReplicas === 4;
      });
    } finally {
      await selector(spec?.template.spec?.nodeSelector ?? {});
      await kcr.whole();
    }
    await allReady();
  });
  let count = 0;

  it("are made in less than three seconds, and without the class, while the operators are down", async () => {
    const operators = { namespace: kcr.namespace, name: "kcr-operator" };
    const scale = (replicas: number) =>
      world.client.patch(deployments, operators, { type: "merge", body: { spec: { replicas } } });
    const { spec } = await world.client.get(deployments, operators);
    await scale(0);
    try {
      // Those that are going serve until they have gone.
      await waitFor("the operators to be gone", async () => {
        const labelSelector = "app.kubernetes.io/name=kcr-operator";
        return (
          (await world.client.list(pods, { namespace: kcr.namespace, labelSelector })).items.length === 0
        );
      });
      const began = Date.now();
      const pod = await deploy("down");
      const made = Date.parse(pod.metadata.creationTimestamp ?? "") - began;
      expect(made).toBeLessThan(3000);
      expect(pod.spec?.runtimeClassName).toBeUndefined();
    } finally {
      await scale(spec?.replicas ?? 2);
      await kcr.whole();
    }
    expect((await deploy("up")).spec?.runtimeClassName).toBe("kcr");
  });

  it("have the class again after its configuration was made anew, as by a new installation", async () => {
    const name = { name: "kcr" };
    const { metadata, webhooks, ...rest } = await world.client.get(mutatingWebhookConfigurations, name);
    await world.client.delete(mutatingWebhookConfigurations, name);
    await world.client.create(mutatingWebhookConfigurations, {
      ...rest,
      metadata: { name: metadata.name, labels: metadata.labels },
      webhooks: webhooks?.map(({ clientConfig: { caBundle: _, ...clientConfig }, ...webhook }) => ({
        ...webhook,
        clientConfig,
      })),
    });
    await waitFor("API servers to trust the webhook", async () => {
      const now = await world.client.get(mutatingWebhookConfigurations, name);
      return now.webhooks?.[0]?.clientConfig.caBundle;
    });
    await waitFor("a pod of the class", async () => {
      const pod = await deploy(`anew-${count++}`);
      return pod.spec?.runtimeClassName === "kcr";
    });
  });
});
