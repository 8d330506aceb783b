import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { checkpoints, requests } from "../../src/api/kinds.ts";
import { NODES_NAMESPACE, nodeRoleName } from "../../src/api/node-account.ts";
import { runtimeID } from "../../src/api/pod.ts";
import { Client } from "../../src/kube/client.ts";
import { isForbidden } from "../../src/kube/errors.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  type KubeObject,
  nodes,
  type ObjectName,
  type Pod,
  resource,
  secrets,
  serviceAccounts,
} from "../../src/kube/resources.ts";
import { absent } from "../../src/kube/write.ts";
import { Installation } from "../support/installation.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, World } from "../support/world.ts";

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
  const CHANGES = ["update", "patch", "delete", "deletecollection"];
  const GIVEN = ["clusterroles", "clusterrolebindings"].map((kind) => `${kind}.rbac.authorization.k8s.io`);
  const RBAC = [
    ["bind", "clusterroles.rbac.authorization.k8s.io"],
    ["escalate", "clusterroles.rbac.authorization.k8s.io"],
    ...GIVEN.flatMap((kind) => CHANGES.map((verb) => [verb, kind])),
    ["create", "roles.rbac.authorization.k8s.io"],
    ["create", "rolebindings.rbac.authorization.k8s.io"],
    ["impersonate", "users"],
    ["impersonate", "serviceaccounts"],
    ["create", "serviceaccounts/token"],
  ];

  it("the agent may have tokens of nodes' accounts, and checkpoint nothing itself, read no secret, change no pod, use no proxy", async () => {
    expect(await may("kcr-agent", "create", "serviceaccounts/token", NODES_NAMESPACE)).toBe(true);
    expect(await may("kcr-agent", "create", "nodes/checkpoint")).toBe(false);
    for (const kind of GIVEN) expect(await may("kcr-agent", "create", kind), kind).toBe(false);
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

  it("the operator may change pods' images and give nodes' accounts their right, and read no secret, enter no pod, have no token", async () => {
    expect(await may("kcr-operator", "patch", "pods")).toBe(true);
    // Whoever gives a right has it; which roles are made with it, a policy says.
    expect(await may("kcr-operator", "create", "nodes/checkpoint")).toBe(true);
    for (const kind of GIVEN) expect(await may("kcr-operator", "create", kind), kind).toBe(true);
    expect(await may("kcr-operator", "create", "serviceaccounts", NODES_NAMESPACE)).toBe(true);
    for (const of of [NODES_NAMESPACE, kcr.namespace]) {
      expect(await may("kcr-operator", "create", "serviceaccounts/token", of), of).toBe(false);
    }
    const forbidden = [...SECRETS, ...PODS, ...NODES, ...RBAC, ["create", "serviceaccounts"]];
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
      expect(hostPaths(pod)).toEqual(["/var/lib/kubelet/checkpoints", "/var/lib/kcr", "/sys/fs/cgroup"]);
    }
  });

  describe("an agent's power ends at its node:", () => {
    /** A token of an account, as the account's holder would have it. */
    const tokenOf = async (
      client: Client,
      { namespace, name }: ObjectName,
      spec: object = {},
    ): Promise<string> => {
      const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`;
      const body = {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds: 600, ...spec },
      };
      return (await client.request<{ status: { token: string } }>("POST", path, { body })).status.token;
    };

    /** A client with the very rights of a node's agent. */
    async function agentOf(node: string): Promise<Client> {
      const { metadata } = await kcr.agent(node);
      const boundObjectRef = { apiVersion: "v1", kind: "Pod", name: metadata.name, uid: metadata.uid };
      const account = { namespace: kcr.namespace, name: "kcr-agent" };
      const token = await tokenOf(world.client, account, { boundObjectRef });
      const { clusters } = JSON.parse(await readFile(world.cluster.kubeconfigPath, "utf8"));
      const { server, "certificate-authority-data": ca } = clusters[0].cluster;
      const file = join(directory, `${node}.kubeconfig`);
      const config = kubeconfig({ url: server, ca: Buffer.from(ca, "base64").toString() }, { token });
      await writeFile(file, config, { mode: 0o600 });
      return Client.fromConfig({ kubeconfig: file });
    }

    /** What a node's kubelet answers to whoever asks it to checkpoint a container that it has not. */
    const kubeletSays = (node: string, token: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const host = world.cluster.nodes.find(({ name }) => name === node)?.ip;
        const path = `/checkpoint/${world.namespace}/none/app`;
        const headers = { authorization: `Bearer ${token}` };
        const options = { host, port: 10250, path, method: "POST", headers, rejectUnauthorized: false };
        const asked = request(options, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        });
        asked.on("error", reject);
        asked.end();
      });

    let directory: string;
    let own: string;
    let other: string;
    let agent: Client;
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), "kcr-rights-"));
      [own, other] = world.cluster.nodes.map(({ name }) => name) as [string, string];
      agent = await agentOf(own);
    });
    afterAll(async () => {
      agent.close();
      await rm(directory, { recursive: true });
    });

    it("its own kubelet takes checkpoints for its node's account, every other answers 403", async () => {
      const token = await tokenOf(agent, { namespace: NODES_NAMESPACE, name: own });
      expect(await kubeletSays(own, token)).toBe(404);
      expect(await kubeletSays(other, token)).toBe(403);
      // Nor is its own token good for that.
      const itself = await tokenOf(world.client, { namespace: kcr.namespace, name: "kcr-agent" });
      for (const node of [own, other]) expect(await kubeletSays(node, itself)).toBe(403);
    });

    it("it has no token of another node's account, of another account, nor a long one", async () => {
      const refused = [
        () => tokenOf(agent, { namespace: NODES_NAMESPACE, name: other }),
        () => tokenOf(agent, { namespace: NODES_NAMESPACE, name: own }, { expirationSeconds: 3600 }),
        () => tokenOf(agent, { namespace: kcr.namespace, name: "kcr-operator" }),
        () => tokenOf(agent, { namespace: kcr.namespace, name: "kcr-agent" }),
      ];
      for (const attempt of refused) await expect(attempt()).rejects.toSatisfy(isForbidden);
    });

    it("it neither changes, describes nor deletes what is another node's, and reads no Secret", async () => {
      const pod = await world.deploy({ name: "far", containers: [counter(world)], node: other });
      const { metadata } = await world.checkpoint(pod);
      const body = { type: "merge" as const, body: { metadata: { finalizers: [] } } };
      const status = { type: "merge" as const, body: { status: { phase: "Failed" } } };
      const asked = (await world.client.list(requests, { namespace: world.namespace })).items[0]!;
      const refused = [
        () => agent.patch(checkpoints, metadata, body),
        () => agent.patch(checkpoints, metadata, status, { subresource: "status" }),
        () => agent.delete(checkpoints, metadata),
        () => agent.patch(requests, asked.metadata, status, { subresource: "status" }),
        () => agent.list(secrets, { namespace: kcr.namespace }),
        () => agent.list(secrets),
      ];
      for (const attempt of refused) await expect(attempt()).rejects.toSatisfy(isForbidden);
    });

    it("what a node was given goes with it", async () => {
      const name = `ghost-${world.namespace}`;
      const account = { namespace: NODES_NAMESPACE, name };
      const role = { name: nodeRoleName(name) };
      // Without labels no DaemonSet wants it.
      await world.client.create(nodes, { metadata: { name } });
      try {
        await waitFor("its account", () => world.client.get(serviceAccounts, account).catch(absent));
        await world.client.get(clusterRoles, role);
      } finally {
        await world.client.delete(nodes, { name });
      }
      await waitFor("all of it to be gone", async () => {
        const left = await Promise.all([
          world.client.get(serviceAccounts, account).catch(absent),
          world.client.get(clusterRoles, role).catch(absent),
          world.client.get(clusterRoleBindings, role).catch(absent),
        ]);
        return left.every((object) => object === undefined);
      });
    });
  });
});
