import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { events, nodes, type Pod, pods } from "../../../src/kube/resources.ts";
import { installKcr } from "../../support/install.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { crash, handlersReady, KCR } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { World } from "../../support/world.ts";

const cluster = inject("cluster");
const NAMESPACE = "kcr-system";

describe.skipIf(cluster === undefined)("the installer", () => {
  let world: World;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "installer");
    node = world.worker("2.4");
    await handlersReady(world);
  });
  afterAll(async () => {
    await installKcr(world.cluster);
    await handlersReady(world);
    await world.leave();
  });

  const installerOf = (name: string): Promise<Pod> =>
    waitFor(`the installer of ${name}`, async () => {
      const labelSelector = "app.kubernetes.io/name=kcr-installer";
      const { items } = await world.client.list(pods, { namespace: NAMESPACE, labelSelector });
      return items.find((pod) => pod.spec?.nodeName === name && pod.metadata.deletionTimestamp === undefined);
    });
  const isDone = async (name: string) =>
    (await installerOf(name)).status?.conditions?.some((c) => c.type === "Ready" && c.status === "True");
  /** Waits until the installer of a node has told something, and gives its words. */
  const told = async (reason: string, { metadata: { name } }: Pod) =>
    await waitFor(`${reason} of ${name}`, async () => {
      const { items } = await world.client.list(events, { namespace: NAMESPACE });
      return items.find((event) => event.reason === reason && event.regarding?.name === name)?.note;
    });
  const onNode = (name: string, script: string) => world.cluster.nodeExec(name, ["sh", "-c", script]);
  const containerd = (name: string) => onNode(name, "cat /run/kcr/containerd.pid");
  const handlers = async (name: string) =>
    (await world.client.get(nodes, { name })).status?.runtimeHandlers?.map((handler) => handler.name) ?? [];
  /** What every node does with its handler from now on: `install` or `uninstall`. */
  const tell = (verb: string) => {
    const path = "/spec/template/spec/initContainers/0/args/1";
    const patch = JSON.stringify([{ op: "replace", path, value: verb }]);
    return world.cluster.kubectl([
      ...["-n", NAMESPACE, "patch", "daemonset/kcr-installer", "--type=json", "-p", patch],
    ]);
  };

  it("that runs again changes nothing and restarts nothing", async () => {
    const files = "find /opt/kcr-runtime /etc/containerd -printf '%p %i %T@\\n' | sort";
    const before = [await containerd(node), await onNode(node, files)];
    const old = await installerOf(node);
    await world.client.delete(pods, old.metadata);
    await waitFor("another installer", async () => {
      const { metadata } = await installerOf(node);
      return metadata.uid !== old.metadata.uid && (await isDone(node));
    });
    expect(await told("HandlerReady", await installerOf(node))).toContain("nothing was to be done");
    expect([await containerd(node), await onNode(node, files)]).toEqual(before);
  });

  it("that is to take the handler away leaves pods running, and their crashes are ordinary restarts", async () => {
    const pod = await world.deploy({
      name: "stays",
      node,
      containers: [carrier(world)],
      podSpec: { runtimeClassName: "kcr" },
    });
    await advance(world, pod);
    await waitFor("pods of other tests to be gone", async () => {
      const { items } = await world.client.listAll(pods, { fieldSelector: `spec.nodeName=${node}` });
      return items.filter(({ spec }) => spec?.runtimeClassName === "kcr").length === 1;
    });
    await tell("uninstall");
    const waiting = await told("HandlerInUse", await waitForNew(pod));
    expect(waiting).toContain(`${world.namespace}/${pod.metadata.name}`);

    expect(await mark(world, pod)).toBe(1);
    expect((await world.container(pod)).restartCount).toBe(0);
    expect((await crash(world, pod)).restartCount).toBe(1);
    expect(await mark(world, pod)).toBe(0);
    expect(await handlers(node), "what the pod is started by").toContain("kcr");

    await world.cluster.kubectl(["-n", world.namespace, "delete", "deployment", "stays"]);
    for (const { name } of world.cluster.nodes) {
      await waitFor(`${name} to be rid of it`, () => isDone(name), { timeoutMs: 120_000 });
      expect(await handlers(name)).not.toContain("kcr");
      expect(await onNode(name, "ls /etc/containerd/conf.d; [ ! -e /opt/kcr-runtime ]")).toBe("");
    }
  });

  it("puts it back, and the node is ready for pods of the class again", async () => {
    await tell("install");
    await waitFor("the handler", async () => (await handlers(node)).includes("kcr"));
    expect(await onNode(node, `ls ${KCR.root}`)).not.toContain("disabled");
    await handlersReady(world);
  });

  /** The installer's pod that has `uninstall` to do, on the node of a pod. */
  async function waitForNew(pod: Pod): Promise<Pod> {
    const name = pod.spec?.nodeName ?? "";
    return await waitFor(`the installer of ${name} that takes it away`, async () => {
      const installer = await installerOf(name);
      return installer.spec?.initContainers?.[0]?.args?.includes("uninstall") && installer;
    });
  }
});
