import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { RESTORE_FROM_ANNOTATION } from "../../src/api/labels.ts";
import { Client, type Patch } from "../../src/kube/client.ts";
import { ApiError, isForbidden } from "../../src/kube/errors.ts";
import {
  deployments,
  jobs,
  type KubeObject,
  nodes,
  type Pod,
  pods,
  type Resource,
  replicaSets,
  resource,
} from "../../src/kube/resources.ts";
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
    await applyManifests(api);
    for (const name of ["node-1", "node-2"]) await person.create(nodes, { metadata: { name } });
    namespace = await makeNamespace(person, "policies");
    const { uid } = await makePod(
      person,
      { namespace: SYSTEM, name: "agent-1" },
      { serviceAccountName: "kcr-agent" },
    );
    agent = await tokenClient({ kind: "Pod", apiVersion: "v1", name: "agent-1", uid });
    stray = await tokenClient(undefined);
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

  /** A client with a token of the agent's account, bound to a pod as the kubelet has it made. */
  async function tokenClient(boundObjectRef: object | undefined): Promise<Client> {
    const path = `/api/v1/namespaces/${SYSTEM}/serviceaccounts/kcr-agent/token`;
    const { status } = await person.request<{ status: { token: string } }>("POST", path, {
      body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { boundObjectRef } },
    });
    const file = join(api.kubeconfig, "..", `agent-${clients.length}.kubeconfig`);
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
      const pod = await makePod(operator, fresh(stamp));
      await makePod(controller, fresh(stamp));
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
});
