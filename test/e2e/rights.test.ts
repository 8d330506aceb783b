import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runtimeID } from "../../src/api/pod.ts";
import { type KubeObject, type Pod, resource } from "../../src/kube/resources.ts";
import { Installation } from "../support/installation.ts";
import { World } from "../support/world.ts";

const cluster = inject("cluster");

interface AccessReview extends KubeObject {
  spec: object;
  status?: { allowed: boolean };
}
const accessReviews = resource<AccessReview>({
  group: "authorization.k8s.io",
  version: "v1",
  plural: "subjectaccessreviews",
  kind: "SubjectAccessReview",
  namespaced: false,
});

describe.skipIf(cluster === undefined)("the rights of kcr's own programs", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "rights");
    kcr = new Installation(world);
  });
  afterAll(() => world.leave());

  /** Whether an account of kcr's may do that, to things of any name unless said; `what` may be `pods/exec`. */
  async function may(
    account: string,
    verb: string,
    what: string,
    namespace?: string,
    name?: string,
  ): Promise<boolean> {
    const [path = "", subresource] = what.split("/");
    const [plural, ...group] = path.split(".");
    const review = await world.client.create(accessReviews, {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      metadata: { name: "" },
      spec: {
        user: `system:serviceaccount:${kcr.namespace}:${account}`,
        groups: ["system:serviceaccounts", `system:serviceaccounts:${kcr.namespace}`, "system:authenticated"],
        resourceAttributes: { verb, resource: plural, subresource, group: group.join("."), namespace, name },
      },
    });
    return review.status?.allowed ?? false;
  }

  const SECRETS = ["get", "list", "watch"].map((verb) => [verb, "secrets"]);
  const PODS = [
    ...["update", "delete", "create"].map((verb) => [verb, "pods"]),
    ...["exec", "attach", "portforward", "ephemeralcontainers"].map((sub) => ["create", `pods/${sub}`]),
    ["get", "pods/exec"],
    ["patch", "pods/ephemeralcontainers"],
  ];
  const PROXY = ["get", "create"].map((verb) => [verb, "nodes/proxy"]);
  const NODES = [...PROXY, ...["patch", "update"].map((verb) => [verb, "nodes"])];
  const RBAC = [
    ["bind", "clusterroles.rbac.authorization.k8s.io"],
    ["create", "clusterrolebindings.rbac.authorization.k8s.io"],
    ["impersonate", "users"],
    ["create", "serviceaccounts/token"],
  ];

  it("the agent may checkpoint through kubelets, and read no secret, change no pod, use no proxy", async () => {
    expect(await may("kcr-agent", "create", "nodes/checkpoint")).toBe(true);
    // The self-test's pods and the node's label: policies hold it to its own.
    const ownPods = ["create", "delete"];
    for (const verb of ownPods) expect(await may("kcr-agent", verb, "pods", kcr.namespace)).toBe(true);
    expect(await may("kcr-agent", "patch", "nodes")).toBe(true);
    const forbidden = [...SECRETS, ...PODS, ...PROXY, ...RBAC, ["patch", "pods"], ["update", "nodes"]];
    for (const [verb = "", what = ""] of forbidden) {
      expect(await may("kcr-agent", verb, what), `${verb} ${what}`).toBe(false);
      if (what === "pods" && ownPods.includes(verb)) continue;
      expect(await may("kcr-agent", verb, what, kcr.namespace), `${verb} ${what} in its own`).toBe(false);
    }
  });

  it("the operator may change pods' images, and read no secret, enter no pod, take no checkpoint itself", async () => {
    expect(await may("kcr-operator", "patch", "pods")).toBe(true);
    const forbidden = [...SECRETS, ...PODS, ...NODES, ...RBAC, ["create", "nodes/checkpoint"]];
    for (const [verb = "", what = ""] of forbidden) {
      expect(await may("kcr-operator", verb, what, world.namespace), `${verb} ${what}`).toBe(false);
    }
    // The pull probe's pods, in kcr's own namespace alone.
    expect(await may("kcr-operator", "create", "pods", kcr.namespace)).toBe(true);
    // Of Secrets its webhook's certificates alone, of webhooks its own configuration.
    for (const verb of ["get", "list", "watch", "create", "patch", "update", "delete"]) {
      expect(await may("kcr-operator", verb, "secrets", kcr.namespace), verb).toBe(false);
      expect(await may("kcr-operator", verb, "secrets", kcr.namespace, "kcr-registry"), verb).toBe(false);
    }
    expect(await may("kcr-operator", "get", "secrets", kcr.namespace, "kcr-webhook")).toBe(true);
    const webhooks = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
    expect(await may("kcr-operator", "patch", webhooks, undefined, "kcr")).toBe(true);
    expect(await may("kcr-operator", "patch", webhooks, undefined, "another")).toBe(false);
    expect(await may("kcr-operator", "create", webhooks)).toBe(false);
  });

  /** What the kernel says of a pod's process: `/proc/<pid>/status` by key. */
  async function processOf(pod: Pod): Promise<Map<string, string>> {
    const node = pod.spec?.nodeName ?? "";
    const id = runtimeID(pod.status?.containerStatuses?.[0]?.containerID) ?? "";
    const tasks = await world.cluster.nodeExec(node, ["ctr", "-n", "k8s.io", "tasks", "ls"]);
    const pid = tasks
      .split("\n")
      .find((line) => line.startsWith(id))
      ?.split(/\s+/)[1];
    const status = await world.cluster.nodeExec(node, ["cat", `/proc/${pid}/status`]);
    return new Map(status.split("\n").map((line) => line.split(/:\s+/) as [string, string]));
  }

  const hostPaths = (pod: Pod) => (pod.spec?.volumes ?? []).flatMap((volume) => volume.hostPath?.path ?? []);

  const without = "0".repeat(16);
  async function hasNoPower(pod: Pod): Promise<void> {
    const { hostNetwork, hostPID, hostIPC, containers, initContainers } = pod.spec!;
    expect([hostNetwork, hostPID, hostIPC].some(Boolean)).toBe(false);
    expect(initContainers).toBeUndefined();
    expect(containers).toHaveLength(1);
    expect(containers[0]?.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    expect(containers[0]?.securityContext?.privileged ?? false).toBe(false);
    expect(containers[0]?.securityContext?.capabilities?.add).toBeUndefined();
    const seen = await processOf(pod);
    for (const set of ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"]) {
      expect(seen.get(set), set).toBe(without);
    }
    expect(seen.get("NoNewPrivs")).toBe("1");
    expect(seen.get("Seccomp")).toBe("2");
  }

  it("the operators run as no root, with nothing of their hosts", async () => {
    const operators = await kcr.operators();
    expect(operators).toHaveLength(2);
    for (const pod of operators) {
      await hasNoPower(pod);
      expect(hostPaths(pod)).toEqual([]);
      expect((await processOf(pod)).get("Uid")?.split("\t")).toEqual(Array(4).fill("65532"));
    }
  });

  it("the agents have no capability, and of their hosts kcr's directory and the kubelet's checkpoints alone", async () => {
    for (const { name } of world.cluster.nodes) {
      const pod = await kcr.agent(name);
      await hasNoPower(pod);
      expect(hostPaths(pod)).toEqual(["/var/lib/kubelet/checkpoints", "/var/lib/kcr"]);
    }
  });
});
