import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { NodeToken } from "../../src/agent/token/token.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { checkpoints, requests, restores, schedules } from "../../src/api/kinds.ts";
import { RECORD_ANNOTATION, RESTORE_FROM_ANNOTATION } from "../../src/api/labels.ts";
import { nodeRoleName } from "../../src/api/node-account.ts";
import { Cache } from "../../src/kube/cache.ts";
import { Client, type Patch } from "../../src/kube/client.ts";
import { ApiError, isForbidden } from "../../src/kube/errors.ts";
import { silent } from "../../src/kube/log.ts";
import { noMetrics } from "../../src/kube/metrics.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  deployments,
  events,
  jobs,
  type KubeObject,
  nodes,
  type Pod,
  pods,
  type Resource,
  replicaSets,
  resource,
  secrets,
  serviceAccounts,
} from "../../src/kube/resources.ts";
import { absent } from "../../src/kube/write.ts";
import { nodeAccounts, nodeController } from "../../src/operator/node/controller.ts";
import { type ApiServer, startApiServer } from "../support/apiserver.ts";
import { applyManifests } from "../support/manifests.ts";
import { makeNamespace } from "../support/namespace.ts";
import { waitFor } from "../support/wait-for.ts";

const SYSTEM = "kcr-system";
const cronJobs = resource<KubeObject>({ group: "batch", version: "v1", plural: "cronjobs", kind: "CronJob" });

/** kcr's admission policies as they are installed, on an API server of their own. */
describe.skipIf(inject("kubeconfig") === undefined)("kcr's admission policies", () => {
  let api: ApiServer;
  let person: Client;
  let controller: Client;
  let kubelet: Client;
  let operator: Client;
  /** Agents of node-1 and of no node. */
  let agent: Client;
  let stray: Client;
  /** One of no node that RBAC lets do everything: what the policies alone hold back. */
  let powerful: Client;
  /** An operator with no more rights than it is given. */
  let leader: Client;
  let namespace: string;
  const clients: Client[] = [];

  beforeAll(async () => {
    api = await startApiServer();
    const as = async (name: string, ...groups: string[]) => {
      const client = Client.fromConfig({ kubeconfig: await api.userKubeconfig(name, groups) });
      clients.push(client);
      return client;
    };
    // Who may do everything by RBAC shows what the policies alone hold back.
    person = await as("admin", "system:masters");
    controller = await as("system:serviceaccount:kube-system:replicaset-controller", "system:masters");
    kubelet = await as("system:node:node-1", "system:nodes", "system:masters");
    operator = await as(`system:serviceaccount:${SYSTEM}:kcr-operator`, "system:masters");
    powerful = await as(`system:serviceaccount:${SYSTEM}:kcr-agent`, "system:masters");
    await applyManifests(api);
    for (const name of ["node-1", "node-2"]) await person.create(nodes, { metadata: { name } });
    namespace = await makeNamespace(person, "policies");
    const { uid } = await makePod(
      person,
      { namespace: SYSTEM, name: "agent-1" },
      { serviceAccountName: "kcr-agent" },
    );
    agent = await tokenClient("kcr-agent", { kind: "Pod", apiVersion: "v1", name: "agent-1", uid });
    stray = await tokenClient("kcr-agent");
    leader = await tokenClient("kcr-operator");
    await waitFor("the policies to hold", () =>
      refused(makePod(person, { namespace, name: "probe" }, { runtimeClassName: "kcr-selftest" })).catch(
        () => false,
      ),
    );
  });
  afterAll(async () => {
    for (const client of clients) client.close();
    await api.stop();
  });

  /** A client with a token of an account of kcr's, bound to a pod as the kubelet has it made. */
  async function tokenClient(account: string, boundObjectRef?: object): Promise<Client> {
    const path = `/api/v1/namespaces/${SYSTEM}/serviceaccounts/${account}/token`;
    const { status } = await person.request<{ status: { token: string } }>("POST", path, {
      body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { boundObjectRef } },
    });
    const file = join(api.kubeconfig, "..", `${account}-${clients.length}.kubeconfig`);
    const ca = readFileSync(api.caFile, "utf8");
    await writeFile(file, kubeconfig({ url: api.url, ca }, { token: status.token }), { mode: 0o600 });
    const client = Client.fromConfig({ kubeconfig: file });
    clients.push(client);
    return client;
  }

  async function makePod(
    client: Client,
    metadata: Pod["metadata"],
    spec: object = {},
  ): Promise<Pod["metadata"]> {
    const pod = {
      metadata,
      spec: { nodeName: "node-1", containers: [{ name: "app", image: "app" }], ...spec },
    };
    return (await client.create(pods, pod as Pod)).metadata;
  }

  /** What the policy said, which must be what refused it. */
  async function refused(attempt: Promise<unknown>): Promise<string> {
    const outcome = await attempt.then(
      () => new Error("was allowed"),
      (error: unknown) => error,
    );
    if (
      !(outcome instanceof ApiError) ||
      !isForbidden(outcome) ||
      !/ValidatingAdmissionPolicy/.test(outcome.message)
    )
      throw outcome;
    return outcome.message;
  }

  const merge = (body: object): Patch => ({ type: "merge", body });
  const stamp = { [RESTORE_FROM_ANNOTATION]: "some-checkpoint" };
  let count = 0;
  const fresh = (annotations?: Record<string, string>) => ({
    namespace,
    name: `pod-${count++}`,
    annotations,
  });

  describe("on class kcr-selftest", () => {
    it("let kcr's own namespace have it, and no other", async () => {
      const spec = { runtimeClassName: "kcr-selftest" };
      await makePod(person, { namespace: SYSTEM, name: "own" }, spec);
      expect(await refused(makePod(person, fresh(), spec))).toContain(
        "kcr-selftest is for kcr's own self-test",
      );
      await makePod(person, fresh(), { runtimeClassName: "kcr", nodeName: undefined });
    });
  });

  describe("on kcr.io/restore-from", () => {
    const template = (annotations?: Record<string, string>) => ({
      metadata: { labels: { app: "a" }, annotations },
      spec: { containers: [{ name: "app", image: "app" }], restartPolicy: "Always" },
    });
    const selector = { matchLabels: { app: "a" } };

    it("refuse it from persons, on pods made and on pods that are there", async () => {
      expect(await refused(makePod(person, fresh(stamp)))).toContain("CheckpointRestore");
      const pod = await makePod(person, fresh());
      await refused(person.patch(pods, pod, merge({ metadata: { annotations: stamp } })));
      await refused(
        person.patch(pods, pod, merge({ metadata: { annotations: stamp } }), { subresource: "status" }),
      );
      // Nor from a kubelet: it reports on pods.
      await refused(
        kubelet.patch(pods, pod, merge({ metadata: { annotations: stamp } }), { subresource: "status" }),
      );
    });

    it("refuse it in the binding of a pod to its node", async () => {
      const pod = await makePod(person, fresh(), { nodeName: undefined });
      const bind = (annotations?: object) =>
        person.request("POST", `/api/v1/namespaces/${namespace}/pods/${pod.name}/binding`, {
          body: {
            apiVersion: "v1",
            kind: "Binding",
            metadata: { name: pod.name, namespace, annotations },
            target: { kind: "Node", name: "node-1" },
          },
        });
      await refused(bind(stamp));
      await bind();
    });

    it.each<[string, Resource, (annotations: Record<string, string> | undefined) => object]>([
      ["a Deployment", deployments, (a) => ({ selector, template: template(a) })],
      ["a ReplicaSet", replicaSets, (a) => ({ selector, template: template(a) })],
      [
        "a Job",
        jobs,
        (a) => ({ template: { ...template(a), spec: { ...template(a).spec, restartPolicy: "Never" } } }),
      ],
      [
        "a CronJob",
        cronJobs,
        (a) => ({
          schedule: "@yearly",
          jobTemplate: {
            spec: { template: { ...template(a), spec: { ...template(a).spec, restartPolicy: "Never" } } },
          },
        }),
      ],
    ])("refuse it from persons in the template of %s", async (_what, kind, spec) => {
      const make = (annotations?: Record<string, string>) =>
        person.create(kind, {
          metadata: { namespace, name: `w-${count++}`, annotations: stamp },
          spec: spec(annotations),
        } as KubeObject);
      await refused(make(stamp));
      await make();
    });

    it("let kcr set it, controllers make pods of it, and everybody else leave it as it is", async () => {
      const pod = await makePod(controller, fresh(stamp));
      const bare = await makePod(person, fresh());
      await operator.patch(pods, bare, merge({ metadata: { annotations: stamp } }));

      await person.patch(pods, pod, merge({ metadata: { labels: { mine: "yes" } } }));
      await kubelet.patch(pods, pod, merge({ status: { phase: "Running" } }), { subresource: "status" });
      await refused(
        person.patch(pods, pod, merge({ metadata: { annotations: { [RESTORE_FROM_ANNOTATION]: "x" } } })),
      );
      await refused(
        person.patch(pods, pod, merge({ metadata: { annotations: { [RESTORE_FROM_ANNOTATION]: null } } })),
      );
      await person.delete(pods, pod, { gracePeriodSeconds: 0 });
    });
  });

  describe("on what an agent may change of nodes", () => {
    const label = (key: string, value: string | null = "ready") =>
      merge({ metadata: { labels: { [key]: value } } });

    it("let it label and annotate its own with kcr.io/*", async () => {
      const own = { name: "node-1" };
      await agent.patch(nodes, own, label("kcr.io/runtime"));
      await agent.patch(
        nodes,
        own,
        merge({ metadata: { annotations: { "kcr.io/runtime-selftest": "{}" } } }),
      );
      await agent.patch(nodes, own, label("kcr.io/runtime", null));
    });
    it("refuse every other label, annotation and field of it", async () => {
      const own = { name: "node-1" };
      await person.patch(nodes, own, label("zone", "a"));
      for (const key of [
        "zone",
        "kcr.io.example/x",
        "xkcr.io/runtime",
        "node-role.kubernetes.io/control-plane",
      ]) {
        expect(await refused(agent.patch(nodes, own, label(key, "b")))).toContain("kcr.io/* only");
      }
      await refused(agent.patch(nodes, own, label("zone", null)));
      await refused(agent.patch(nodes, own, merge({ metadata: { annotations: { other: "x" } } })));
      await refused(agent.patch(nodes, own, merge({ spec: { unschedulable: true } })));
      await refused(agent.patch(nodes, own, merge({ spec: { taints: null } })));
      await refused(agent.patch(nodes, own, merge({ metadata: { finalizers: ["kcr.io/x"] } })));
    });
    it("refuse every other node, and an agent whose token is of no pod", async () => {
      expect(await refused(agent.patch(nodes, { name: "node-2" }, label("kcr.io/runtime")))).toContain(
        "its own node",
      );
      await refused(stray.patch(nodes, { name: "node-1" }, label("kcr.io/runtime")));
    });
    it("do not concern anybody else", async () => {
      await kubelet.patch(
        nodes,
        { name: "node-1" },
        merge({ status: { conditions: [{ type: "Ready", status: "True" }] } }),
        { subresource: "status" },
      );
      await controller.patch(nodes, { name: "node-2" }, merge({ spec: { unschedulable: true } }));
      await person.patch(nodes, { name: "node-2" }, label("zone", "c"));
    });
  });

  describe("on what an agent may report of pods", () => {
    const at = "2026-01-01T00:00:00Z";
    const conditions = (...types: string[]): Patch => ({
      type: "strategic",
      body: {
        status: { conditions: types.map((type) => ({ type, status: "True", lastTransitionTime: at })) },
      },
    });
    const status = { subresource: "status" };

    it("let it set conditions kcr.io/* of those of its node, and the kubelet all the rest", async () => {
      const pod = await makePod(person, fresh());
      await kubelet.patch(pods, pod, conditions("Ready", "Initialized"), status);
      await agent.patch(pods, pod, conditions("kcr.io/Restored"), status);
      await kubelet.patch(pods, pod, merge({ status: { phase: "Running", podIP: "10.1.1.1" } }), status);
      await agent.patch(
        pods,
        pod,
        {
          type: "strategic",
          body: { status: { conditions: [{ $patch: "delete", type: "kcr.io/Restored" }] } },
        },
        status,
      );
      const { status: seen } = await person.get(pods, pod);
      expect(seen?.conditions?.map((c) => c.type).sort()).toEqual(["Initialized", "Ready"]);
    });
    it("refuse every other condition and field", async () => {
      const pod = await makePod(person, fresh());
      await kubelet.patch(pods, pod, conditions("Ready"), status);
      expect(await refused(agent.patch(pods, pod, conditions("Healthy"), status))).toContain(
        "conditions kcr.io/* only",
      );
      const gone = {
        type: "strategic" as const,
        body: { status: { conditions: [{ $patch: "delete", type: "Ready" }] } },
      };
      await refused(agent.patch(pods, pod, gone, status));
      const changes = [
        { status: { phase: "Failed" } },
        { status: { podIP: "10.9.9.9", podIPs: [{ ip: "10.9.9.9" }] } },
        { status: { message: "x" } },
        { status: { reason: "x" } },
        { status: { hostIP: "10.9.9.9" } },
        {
          status: {
            containerStatuses: [{ name: "app", image: "", imageID: "", ready: true, restartCount: 0 }],
          },
        },
        { metadata: { labels: { app: "other" } } },
        { metadata: { annotations: { "kcr.io/restore-record": "{}" } } },
      ];
      for (const change of changes) {
        expect(
          await refused(agent.patch(pods, pod, merge(change), status)),
          JSON.stringify(change),
        ).toContain("nothing else of a pod");
      }
    });
    it("refuse pods of other nodes, and of none", async () => {
      const far = await makePod(person, fresh(), { nodeName: "node-2" });
      expect(await refused(agent.patch(pods, far, conditions("kcr.io/Restored"), status))).toContain(
        "its own node",
      );
      const none = await makePod(person, fresh(), { nodeName: undefined });
      await refused(agent.patch(pods, none, conditions("kcr.io/Restored"), status));
      await refused(stray.patch(pods, await makePod(person, fresh()), conditions("kcr.io/Restored"), status));
    });
  });

  describe("on the pods that an agent may make", () => {
    const host = { name: "selftest", hostPath: { path: "/var/lib/kcr/selftest" } };
    const mount = { name: "selftest", mountPath: "/var/lib/kcr-selftest", readOnly: true };
    const container = {
      name: "selftest",
      image: "kcr",
      securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
      volumeMounts: [mount],
    };
    const good = {
      runtimeClassName: "kcr-selftest",
      automountServiceAccountToken: false,
      nodeName: "node-1",
      containers: [container],
      volumes: [host],
    };
    const own = () => ({ namespace: SYSTEM, name: `self-${count++}` });

    it("let it make its self-test's, and delete it", async () => {
      const pod = await makePod(agent, own(), good);
      await agent.delete(pods, pod, { gracePeriodSeconds: 0 });
    });
    it.each<[string, object]>([
      ["of another class", { runtimeClassName: "kcr" }],
      ["of none", { runtimeClassName: undefined }],
      ["on another node", { nodeName: "node-2" }],
      ["on any node", { nodeName: undefined }],
      ["with the operator's account", { serviceAccountName: "kcr-operator" }],
      ["with a token", { automountServiceAccountToken: undefined }],
      ["with its host's network", { hostNetwork: true }],
      ["with its host's processes", { hostPID: true }],
      ["with a Secret", { volumes: [host, { name: "s", secret: { secretName: "kcr-webhook" } }] }],
      [
        "with a token of a volume's",
        {
          serviceAccountName: "default",
          volumes: [host, { name: "t", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } }],
        },
      ],
      ["with another directory of its host", { volumes: [{ ...host, hostPath: { path: "/" } }] }],
      [
        "that may write there",
        { containers: [{ ...container, volumeMounts: [{ ...mount, readOnly: false }] }] },
      ],
      ["that is privileged", { containers: [{ ...container, securityContext: { privileged: true } }] }],
      [
        "with a capability",
        {
          containers: [
            {
              ...container,
              securityContext: { allowPrivilegeEscalation: false, capabilities: { add: ["SYS_ADMIN"] } },
            },
          ],
        },
      ],
      [
        "with a Secret in its environment",
        { containers: [{ ...container, envFrom: [{ secretRef: { name: "kcr-webhook" } }] }] },
      ],
      ["with an init container", { initContainers: [{ ...container, name: "init" }] }],
    ])("refuse one %s", async (_what, change) => {
      await refused(makePod(agent, own(), { ...good, ...change }));
    });
    it("refuse to delete any but its own", async () => {
      const [other, far] = [own(), own()];
      await makePod(person, other);
      await makePod(person, far, { ...good, nodeName: "node-2" });
      await refused(agent.delete(pods, other));
      await refused(agent.delete(pods, far));
      await person.delete(pods, other, { gracePeriodSeconds: 0 });
    });
  });

  describe("on kcr's objects", () => {
    const status = { subresource: "status" };
    const spec = (nodeName: string) => ({
      checkpointData: "checkpoint-a_b-c-2026-01-01T00:00:00Z.tar",
      checkpointTimestamp: "2026-01-01T00:00:00Z",
      checkpointID: "x",
      containerName: "app",
      nodeName,
    });
    const checkpoint = (client: Client, nodeName: string): Promise<Checkpoint> =>
      client.create(checkpoints, {
        metadata: { namespace, name: `ckpt-${count++}` },
        spec: spec(nodeName),
      } as Checkpoint);
    async function stamped<T extends KubeObject>(kind: Resource<T>, spec: object, nodeName?: string) {
      const made = await person.create(kind, {
        metadata: { namespace, name: `o-${count++}` },
        spec,
      } as unknown as T);
      if (nodeName === undefined) return made;
      return person.patch(kind, made.metadata, merge({ status: { nodeName } }), status);
    }
    const others: [string, Resource, object][] = [
      ["requests", requests, { podReference: { name: "pod" } }],
      ["restores", restores, { checkpointName: "a", podReference: { name: "pod" } }],
    ];

    it("let an agent make Checkpoints of its node, describe them and let them go", async () => {
      const { metadata } = await checkpoint(agent, "node-1");
      await agent.patch(checkpoints, metadata, merge({ status: { phase: "Created" } }), status);
      await agent.patch(checkpoints, metadata, merge({ metadata: { finalizers: [] } }));
    });
    it("refuse it to make, change, describe or delete Checkpoints of other nodes", async () => {
      expect(await refused(checkpoint(agent, "node-2"))).toContain("stamped with its own node");
      const { metadata } = await checkpoint(person, "node-2");
      await refused(agent.patch(checkpoints, metadata, merge({ metadata: { finalizers: [] } })));
      await refused(agent.patch(checkpoints, metadata, merge({ metadata: { labels: { a: "b" } } })));
      await refused(agent.patch(checkpoints, metadata, merge({ status: { phase: "Failed" } }), status));
      await expect(agent.delete(checkpoints, metadata)).rejects.toSatisfy(isForbidden);
      // Should RBAC ever let it.
      await refused(powerful.delete(checkpoints, metadata));
      await refused(stray.patch(checkpoints, metadata, merge({ status: { phase: "Failed" } }), status));
      await refused(checkpoint(stray, "node-1"));
    });
    it.each(others)("let an agent report on %s of its node, and on no others", async (_what, kind, spec) => {
      const report = merge({ status: { message: "seen" } });
      const own = await stamped(kind, spec, "node-1");
      await agent.patch(kind, own.metadata, report, status);
      for (const node of ["node-2", undefined]) {
        const { metadata } = await stamped(kind, spec, node);
        await refused(agent.patch(kind, metadata, report, status));
        await refused(
          agent.patch(kind, metadata, merge({ status: { nodeName: "node-1", message: "mine" } }), status),
        );
      }
      // Nor may it hand one to another.
      await refused(agent.patch(kind, own.metadata, merge({ status: { nodeName: "node-2" } }), status));
      await refused(agent.patch(kind, own.metadata, merge({ status: { nodeName: null } }), status));
    });
    it("refuse it schedules, whatever RBAC says", async () => {
      const schedule = { schedule: "@yearly", selector: { matchLabels: { app: "a" } } };
      const { metadata } = await stamped(schedules, schedule);
      await refused(powerful.patch(schedules, metadata, merge({ spec: { suspend: true } })));
      await refused(powerful.delete(schedules, metadata));
    });
    it("do not concern the operator, persons, or who takes away what is left", async () => {
      const { metadata } = await checkpoint(person, "node-2");
      await operator.patch(checkpoints, metadata, merge({ status: { phase: "Failed" } }), status);
      await controller.delete(checkpoints, metadata);
    });
  });

  describe("on Events of an agent", () => {
    const event = (reportingInstance: string, reportingController = "kcr-agent") => ({
      metadata: { namespace, name: `event-${count++}` },
      regarding: { kind: "Pod", namespace, name: "pod" },
      type: "Normal",
      reason: "Restored",
      action: "Restore",
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController,
      reportingInstance,
    });
    it("let it write its own, and touch no others", async () => {
      const own = await agent.create(events, event("node-1"));
      const series = merge({ series: { count: 2, lastObservedTime: "2026-01-01T00:01:00.000000Z" } });
      await agent.patch(events, own.metadata, series);
      await refused(agent.create(events, event("node-2")));
      await refused(agent.create(events, event("node-1", "kubelet")));
      for (const other of [event("node-2"), event("node-1", "kubelet")]) {
        const { metadata } = await person.create(events, other);
        await refused(agent.patch(events, metadata, series));
      }
    });
  });

  describe("on tokens of the nodes' accounts", () => {
    const stop = new AbortController();
    let running: Promise<unknown>;
    const token = (client: Client, name: string, more: object = {}, of = "kcr-nodes") =>
      client.request("POST", `/api/v1/namespaces/${of}/serviceaccounts/${name}/token`, {
        body: {
          apiVersion: "authentication.k8s.io/v1",
          kind: "TokenRequest",
          spec: { expirationSeconds: 600, ...more },
        },
      });

    beforeAll(async () => {
      const common = { client: leader, log: silent, metrics: noMetrics };
      const existing = nodeAccounts(common);
      const cache = new Cache({ ...common, resource: nodes });
      const parts = [
        cache,
        ...Object.values(existing),
        nodeController({ ...common, nodes: cache, existing }),
      ];
      running = Promise.all(parts.map((part) => part.run(stop.signal)));
      for (const name of ["node-1", "node-2"]) {
        await waitFor(`the account of ${name}`, () =>
          person.get(serviceAccounts, { namespace: "kcr-nodes", name }).catch(absent),
        );
      }
    });
    afterAll(async () => {
      stop.abort();
      await running.catch(() => {});
    });

    /** Whether a node's account may do that, as a kubelet asks. */
    const may = async (account: string, resourceAttributes: object): Promise<boolean> => {
      const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
      const { status } = await person.request<{ status: { allowed: boolean } }>("POST", path, {
        body: { spec: { user: `system:serviceaccount:kcr-nodes:${account}`, resourceAttributes } },
      });
      return status.allowed;
    };
    const checkpointOf = (name: string) => ({
      verb: "create",
      resource: "nodes",
      subresource: "checkpoint",
      name,
    });

    it("the operator's own rights suffice to keep them, and each is good for one node", async () => {
      expect(await may("node-1", checkpointOf("node-1"))).toBe(true);
      expect(await may("node-1", checkpointOf("node-2"))).toBe(false);
      expect(await may("node-2", checkpointOf("node-1"))).toBe(false);
      expect(await may("node-1", { ...checkpointOf("node-1"), subresource: "proxy" })).toBe(false);
      expect(await may("node-1", { verb: "get", resource: "secrets", namespace })).toBe(false);
      // The agents' own account is good for none.
      const agents = `system:serviceaccount:${SYSTEM}:kcr-agent`;
      const path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
      const { status } = await person.request<{ status: { allowed: boolean } }>("POST", path, {
        body: { spec: { user: agents, resourceAttributes: checkpointOf("node-1") } },
      });
      expect(status.allowed).toBe(false);
    });
    it("one that was taken away is made again", async () => {
      const role = { name: nodeRoleName("node-2") };
      const before = await person.get(clusterRoles, role);
      await person.delete(clusterRoles, role);
      const after = await waitFor("the role again", async () => {
        const found = await person.get(clusterRoles, role).catch(absent);
        return found?.metadata.uid !== before.metadata.uid && found;
      });
      expect(after.rules).toEqual(before.rules);
      expect(after.metadata.ownerReferences).toMatchObject([{ kind: "Node", name: "node-2" }]);
    });
    it("let an agent have one of its own node, for ten minutes", async () => {
      await token(agent, "node-1");
      expect(await refused(token(agent, "node-1", { expirationSeconds: 601 }))).toContain("ten minutes");
      await refused(token(agent, "node-1", { expirationSeconds: undefined }));
      // What the agent itself does.
      const own = new NodeToken({ client: agent, node: "node-1", now: () => new Date() });
      expect(await own.get()).toMatch(/^ey/);
    });
    it("refuse those of other nodes, of other accounts, and agents of no node", async () => {
      expect(await refused(token(agent, "node-2"))).toContain("its own node's account");
      await person.create(serviceAccounts, { metadata: { namespace: "kcr-nodes", name: "default" } });
      await refused(token(agent, "default"));
      await refused(token(stray, "node-1"));
      const other = new NodeToken({ client: agent, node: "node-2", now: () => new Date() });
      await expect(other.get()).rejects.toMatchObject({ code: "NodeTokenMissing", retries: 0 });
      for (const account of ["kcr-operator", "kcr-agent", "kcr-installer"]) {
        await expect(token(agent, account, {}, SYSTEM), account).rejects.toSatisfy(isForbidden);
        // Should RBAC ever let it.
        await refused(token(powerful, account, {}, SYSTEM));
      }
    });
    it("refuse an agent every Secret", async () => {
      for (const of of [SYSTEM, "kcr-nodes", namespace]) {
        await expect(agent.list(secrets, { namespace: of })).rejects.toSatisfy(isForbidden);
      }
      await expect(agent.get(secrets, { namespace: SYSTEM, name: "kcr-registry" })).rejects.toSatisfy(
        isForbidden,
      );
    });

    describe("on the operator's roles", () => {
      const rule = (...names: string[]) => ({
        apiGroups: [""],
        resources: ["nodes/checkpoint"],
        resourceNames: names,
        verbs: ["create"],
      });
      const role = (name: string, rules: object[], more: object = {}) =>
        operator.create(clusterRoles, { metadata: { name, ...more }, rules } as never);
      const bound = (name: string, subject: object, roleName = name) =>
        operator.create(clusterRoleBindings, {
          metadata: { name },
          roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: roleName },
          subjects: [subject],
        } as never);
      const account = (name: string, namespace = "kcr-nodes") => ({
        kind: "ServiceAccount",
        name,
        namespace,
      });

      it("let it make a node's, and no other", async () => {
        await role("kcr:node:spare", [rule("spare")]);
        await bound("kcr:node:spare", account("spare"));
        await refused(role("other", [rule("other")]));
        for (const rules of [
          [rule("node-1")],
          [rule()],
          [rule("a", "b")],
          [rule("a"), rule("a")],
          [{ ...rule("a"), verbs: ["create", "get"] }],
          [{ ...rule("a"), resources: ["nodes/checkpoint", "nodes/proxy"] }],
          [{ ...rule("a"), resources: ["*"] }],
        ]) {
          await refused(role("kcr:node:a", rules));
        }
        const labels = { "rbac.authorization.k8s.io/aggregate-to-view": "true" };
        await refused(role("kcr:node:a", [rule("a")], { labels }));
      });
      it("let it bind a node's to that node's account, and change and delete nothing", async () => {
        await refused(bound("kcr:node:b", account("node-1")));
        await refused(bound("kcr:node:b", account("b", SYSTEM)));
        await refused(bound("kcr:node:b", account("b"), "cluster-admin"));
        await refused(bound("kcr:node:b", account("b"), "kcr:node:node-1"));
        await refused(
          bound("kcr:node:b", { kind: "User", name: "b", apiGroup: "rbac.authorization.k8s.io" }),
        );
        await refused(bound("other", account("b"), "kcr:node:b"));
        const own = { name: nodeRoleName("node-1") };
        await refused(operator.patch(clusterRoles, own, merge({ rules: [] })));
        await refused(operator.delete(clusterRoles, own));
        await refused(operator.delete(clusterRoleBindings, { name: "kcr-operator" }));
        await expect(leader.delete(clusterRoles, own)).rejects.toSatisfy(isForbidden);
      });
    });
  });

  describe("on images of checkpoints", () => {
    const digest = `sha256:${"a".repeat(64)}`;
    const image = (name = namespace) => `registry.example.com/kcr/${name}/checkpoint-web-app@${digest}`;
    const containers = (image: string, name = "app") => [{ name, image }];
    const swap = (client: Client, pod: Pod["metadata"], image: string, index = 0) =>
      client.patch(pods, pod, {
        type: "json",
        body: [{ op: "replace", path: `/spec/containers/${index}/image`, value: image }],
      });

    it("refuse them from everybody but kcr, by whatever name of the registry", async () => {
      const names = [
        image(),
        image("another"),
        image().split("@")[0]!,
        "REGISTRY.example.com:443/kcr/a/checkpoint-b:latest",
        "10.0.0.1:5000/kcr/a/checkpoint-b",
        "kcr/a/checkpoint-b",
      ];
      for (const client of [person, controller, kubelet]) {
        for (const name of names) {
          expect(await refused(makePod(client, fresh(), { containers: containers(name) })), name).toContain(
            "CheckpointRestore",
          );
        }
      }
      const plain = await makePod(person, fresh());
      await refused(swap(person, plain, image()));
      await refused(makePod(person, fresh(), { initContainers: containers(image(), "init") }));
      await refused(
        person.request("PATCH", `/api/v1/namespaces/${namespace}/pods/${plain.name}/ephemeralcontainers`, {
          contentType: "application/strategic-merge-patch+json",
          body: { spec: { ephemeralContainers: containers(image(), "debug") } },
        }),
      );
    });
    it("let everybody have all others", async () => {
      const names = [
        "registry.example.com/kcr/kcr:0.1.0",
        "registry.example.com/kcr/team/app",
        "registry.example.com/team/a/checkpoint-b",
        "checkpoint-b",
        "kcr",
      ];
      for (const name of names) await makePod(controller, fresh(), { containers: containers(name) });
    });
    it("let a pod that kcr gave one live on: it is labelled, reported on, bound, entered and deleted", async () => {
      const pod = await makePod(person, fresh());
      await swap(operator, pod, image());
      await person.patch(pods, pod, merge({ metadata: { labels: { mine: "yes" } } }));
      await controller.patch(pods, pod, merge({ metadata: { finalizers: ["example.com/x"] } }));
      await kubelet.patch(pods, pod, merge({ status: { phase: "Running" } }), { subresource: "status" });
      await person.request("PATCH", `/api/v1/namespaces/${namespace}/pods/${pod.name}/ephemeralcontainers`, {
        contentType: "application/strategic-merge-patch+json",
        body: { spec: { ephemeralContainers: containers("debug", "debug") } },
      });
      await controller.patch(pods, pod, merge({ metadata: { finalizers: null } }));
      await controller.delete(pods, pod, { gracePeriodSeconds: 0 });
    });
    it("refuse to give one container of a pod what kcr gave another", async () => {
      const pod = await makePod(person, fresh(), {
        containers: [...containers("app"), ...containers("app", "side")],
      });
      await swap(operator, pod, image());
      await refused(swap(person, pod, image(), 1));
      await swap(person, pod, "app:2", 1);
    });

    describe("that the operator gives to pods", () => {
      const record = (originalImage: string) => ({
        [RECORD_ANNOTATION]: JSON.stringify({ app: { podUID: "u", originalImage, run: 0 } }),
      });
      const annotate = (pod: Pod["metadata"], annotations: object) =>
        operator.patch(pods, pod, merge({ metadata: { annotations } }));

      it("let it have one of the pod's namespace, by digest, and the original again", async () => {
        const pod = await makePod(person, fresh());
        await annotate(pod, record("app"));
        await swap(operator, pod, image());
        await annotate(pod, record("app"));
        await swap(operator, pod, "app");
      });
      it.each([
        ["of another namespace", () => image("another")],
        ["of a namespace whose name goes on", () => image(`${namespace}x`)],
        ["without a digest", () => `${image().split("@")[0]}:latest`],
        ["of another registry", () => image().replace("registry.example.com", "evil.example.com")],
        ["with a path below", () => image().replace("checkpoint-web-app", "checkpoint-a/b")],
        ["that is any other", () => "evil.example.com/app:1"],
        ["by a digest that the container does not run", () => `app@${digest}`],
      ])("refuse one %s", async (_what, name) => {
        const pod = await makePod(person, fresh());
        expect(await refused(swap(operator, pod, name()))).toContain("the one it runs");
      });
      it("refuse an original that the pod never had", async () => {
        const pod = await makePod(person, fresh());
        expect(await refused(annotate(pod, record("evil.example.com/app:1")))).toContain("original images");
        await annotate(pod, record("app"));
        await swap(operator, pod, image());
        await refused(annotate(pod, record("evil.example.com/app:1")));
      });
      it("let it name the image that the container runs by its digest", async () => {
        const pod = await makePod(person, fresh());
        const status = {
          name: "app",
          image: "app",
          imageID: `docker.io/library/app@${digest}`,
          ready: true,
          restartCount: 0,
        };
        await kubelet.patch(pods, pod, merge({ status: { containerStatuses: [status] } }), {
          subresource: "status",
        });
        await swap(operator, pod, `app@${digest}`);
        await swap(operator, pod, `app:restored@${digest}`);
        await refused(swap(operator, pod, `app@sha256:${"b".repeat(64)}`));
      });
      it("let it change labels and annotations kcr.io/* and conditions kcr.io/*, and nothing else", async () => {
        const pod = await makePod(person, fresh());
        await annotate(pod, { "kcr.io/x": "y" });
        const at = "2026-01-01T00:00:00Z";
        const condition = (type: string): Patch => ({
          type: "strategic",
          body: { status: { conditions: [{ type, status: "True", lastTransitionTime: at }] } },
        });
        const status = { subresource: "status" };
        await operator.patch(pods, pod, condition("kcr.io/Restored"), status);
        await refused(operator.patch(pods, pod, condition("Ready"), status));
        await refused(operator.patch(pods, pod, merge({ status: { phase: "Failed" } }), status));
        for (const change of [
          { metadata: { labels: { app: "other" } } },
          { metadata: { annotations: { other: "x" } } },
          { metadata: { finalizers: ["example.com/x"] } },
          { metadata: { ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "node-1", uid: "u" }] } },
          { spec: { activeDeadlineSeconds: 1 } },
        ]) {
          await refused(operator.patch(pods, pod, merge(change)));
        }
        const toleration = { op: "add" as const, path: "/spec/tolerations/-", value: { operator: "Exists" } };
        await refused(operator.patch(pods, pod, { type: "json", body: [toleration] }));
        await refused(operator.delete(pods, pod));
        await refused(
          operator.request("PATCH", `/api/v1/namespaces/${namespace}/pods/${pod.name}/ephemeralcontainers`, {
            contentType: "application/strategic-merge-patch+json",
            body: { spec: { ephemeralContainers: containers("debug", "debug") } },
          }),
        );
      });
      it("let it make and delete its pull probes, and no other pod", async () => {
        const probe = {
          hostNetwork: true,
          automountServiceAccountToken: false,
          containers: [
            {
              name: "probe",
              image: `registry.example.com/kcr/kcr-pull-probe@${digest}`,
              securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
            },
          ],
        };
        const name = () => ({ namespace: SYSTEM, name: `kcr-pull-probe-${count++}` });
        const pod = await makePod(operator, name(), probe);
        await operator.delete(pods, pod, { gracePeriodSeconds: 0 });
        for (const change of [
          { serviceAccountName: "kcr-agent" },
          { automountServiceAccountToken: true },
          { hostPID: true },
          { volumes: [{ name: "h", hostPath: { path: "/" } }] },
          { containers: [{ ...probe.containers[0], image: "evil.example.com/app" }] },
          { containers: [{ ...probe.containers[0], command: ["sh"] }] },
          { containers: [{ ...probe.containers[0], securityContext: { privileged: true } }] },
        ]) {
          await refused(makePod(operator, name(), { ...probe, ...change }));
        }
        await refused(makePod(operator, fresh(), probe));
        await refused(makePod(operator, { namespace: SYSTEM, name: `other-${count++}` }, probe));
        await refused(operator.delete(pods, { namespace: SYSTEM, name: "agent-1" }));
      });
    });
  });
});
