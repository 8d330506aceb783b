import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { ensureBinaries } from "../../../cluster/binaries.ts";
import { type ApiServer, startApiServer } from "../../../test/support/apiserver.ts";
import { freePort } from "../../../test/support/free-ports.ts";
import { applyManifests } from "../../../test/support/manifests.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { findCondition } from "../../api/conditions.ts";
import { API_VERSION } from "../../api/group.ts";
import { schedules } from "../../api/kinds.ts";
import { RECORD_ANNOTATION, RUNTIME_LABEL, RUNTIME_READY, SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import { STRATEGY } from "../../api/pod.ts";
import { settings } from "../../api/settings.ts";
import { createAuthority, issue } from "../../kube/certificates.ts";
import { Client } from "../../kube/client.ts";
import { silent } from "../../kube/log.ts";
import { ownerReference } from "../../kube/owner.ts";
import {
  type Deployment,
  daemonSets,
  deployments,
  type KubeObject,
  type Lease,
  leases,
  mutatingWebhookConfigurations,
  nodes,
  type Pod,
  pods,
  type Resource,
  replicaSets,
  secrets,
  services,
} from "../../kube/resources.ts";
import { createOperator, type Operator } from "../operator.ts";
import { bundleOf, fromSecretData, toSecretData } from "./certificate.ts";
import { CONFIGURATION, WEBHOOK } from "./rotation.ts";

const SYSTEM = "kcr-system";
const DAY = 86_400_000;

/** kcr's manifests as they are, on an API server of its own; the operator runs here, with its account's rights. */
describe.skipIf(inject("kubeconfig") === undefined)("the pod-creation webhook", () => {
  let api: ApiServer;
  let admin: Client;
  let operator: Operator;
  let port: number;
  let stop: AbortController;
  let running: Promise<void>;

  beforeAll(async () => {
    api = await startApiServer();
    admin = Client.fromConfig({ kubeconfig: api.kubeconfig });
    await applyManifests(api);
    await makeNode("plain-1", {});
    await makeNode("ready-1", { [RUNTIME_LABEL]: RUNTIME_READY });
    // No pod of the operator runs here: the Service leads to this process.
    port = await freePort();
    await admin.patch(
      services,
      { namespace: SYSTEM, name: WEBHOOK },
      {
        type: "merge",
        body: { spec: { type: "ExternalName", externalName: "localhost", selector: null, ports: null } },
      },
    );
    await admin.patch(
      mutatingWebhookConfigurations,
      { name: CONFIGURATION },
      {
        type: "json",
        body: [{ op: "replace", path: "/webhooks/0/clientConfig/service/port", value: port }],
      },
    );
    await start();
  });
  afterAll(async () => {
    await end();
    admin.close();
    await api.stop();
  });

  async function start(): Promise<void> {
    const account = `system:serviceaccount:${SYSTEM}:kcr-operator`;
    const groups = ["system:serviceaccounts", `system:serviceaccounts:${SYSTEM}`];
    stop = new AbortController();
    operator = createOperator({
      client: Client.fromConfig({ kubeconfig: await api.userKubeconfig(account, groups) }),
      namespace: SYSTEM,
      identity: "test",
      settings: settings.parse({ registry: { push: "127.0.0.1:1", plainHttp: true } }),
      log: silent,
      webhook: { port, host: "127.0.0.1" },
    });
    running = operator.run(stop.signal);
    running.catch(() => {});
    await waitFor("the operator to be ready", () => operator.ready());
    await waitFor("the API server to use the webhook", async () => {
      const namespace = await makeNamespace(admin, "try");
      const owner = await deployment(namespace, "try", "@yearly");
      return (await podOf(owner)).spec?.runtimeClassName === "kcr";
    });
  }
  async function end(): Promise<void> {
    stop.abort();
    await running;
  }

  it("keeps no replica from being ready under a leader of a version without it", async () => {
    const namespace = await makeNamespace(admin, "before");
    const renewTime = new Date().toISOString().replace("Z", "000Z");
    const spec = { holderIdentity: "old", leaseDurationSeconds: 3600, renewTime, acquireTime: renewTime };
    await admin.create(leases, { metadata: { name: "kcr-operator", namespace }, spec } as Lease);
    const ended = new AbortController();
    const client = Client.fromConfig({ kubeconfig: api.kubeconfig });
    const replica = createOperator({
      client,
      namespace,
      identity: "new",
      settings: settings.parse({ registry: { push: "127.0.0.1:1", plainHttp: true } }),
      log: silent,
      webhook: { port: await freePort(), host: "127.0.0.1" },
    });
    const going = replica.run(ended.signal);
    try {
      await waitFor("the replica to be ready", () => replica.ready());
    } finally {
      ended.abort();
      await going;
      client.close();
    }
  });

  async function makeNode(name: string, labels: Record<string, string>): Promise<void> {
    await admin.create(nodes, { metadata: { name, labels } });
    // Nobody binds or removes pods here, so that they all count: as many as a fast machine makes must fit.
    const allocatable = { cpu: "4", memory: "8Gi", pods: "100000" };
    const status = { conditions: [{ type: "Ready", status: "True" }], allocatable, capacity: allocatable };
    await admin.patch(nodes, { name }, { type: "strategic", body: { status } }, { subresource: "status" });
    // No controller takes the taint away that a new node has.
    await admin.patch(nodes, { name }, { type: "merge", body: { spec: { taints: null } } });
  }

  const template = (labels: Record<string, string>, spec: object = {}) => ({
    metadata: { labels },
    spec: { containers: [{ name: "app", image: "app:1" }], ...spec },
  });
  const deployment = (namespace: string, name: string, cron?: string): Promise<Deployment> =>
    admin.create(deployments, {
      metadata: { name, namespace, annotations: cron === undefined ? {} : { [SCHEDULE_ANNOTATION]: cron } },
      spec: { selector: { matchLabels: { app: name } }, template: template({ app: name }) },
    } as Deployment);

  let made = 0;
  const makePod = (
    metadata: Omit<Partial<Pod["metadata"]>, "name"> & { namespace: string },
    spec: object = {},
  ): Promise<Pod> =>
    admin.create(pods, {
      metadata: { name: `pod-${made++}`, ...metadata },
      spec: { containers: [{ name: "app", image: "app:1" }], ...spec },
    } as Pod);

  /** A pod of a Deployment, made as its controllers make it. */
  async function podOf(owner: Deployment, spec: object = {}): Promise<Pod> {
    const { name, namespace = "" } = owner.metadata;
    const labels = { app: name };
    const set = await admin.create(
      replicaSets as Resource<KubeObject>,
      {
        metadata: { name: `${name}-${made++}`, namespace, labels, ownerReferences: [ownerReference(owner)] },
        spec: { selector: { matchLabels: labels }, template: template(labels, spec) },
      } as KubeObject,
    );
    return makePod({ namespace, labels, ownerReferences: [ownerReference(set)] }, spec);
  }
  const label = (value: string | null) =>
    ({ type: "merge", body: { metadata: { labels: { [RUNTIME_LABEL]: value } } } }) as const;
  const classOf = ({ spec }: Pod): string | undefined => spec?.runtimeClassName;

  it("gives the class to the first pod of a Deployment that was annotated a moment ago", async () => {
    const namespace = await makeNamespace(admin, "first");
    const pod = await podOf(await deployment(namespace, "web", "@yearly"));
    expect(classOf(pod)).toBe("kcr");
    // The class's own scheduling is in the pod, as if its maker had named the class.
    expect(pod.spec?.nodeSelector).toEqual({ [RUNTIME_LABEL]: RUNTIME_READY });
  });

  it("leaves pods alone that nothing protects, and those that have a class", async () => {
    const namespace = await makeNamespace(admin, "alone");
    expect(classOf(await podOf(await deployment(namespace, "plain")))).toBeUndefined();
    expect(classOf(await makePod({ namespace, labels: { app: "none" } }))).toBeUndefined();
    const web = await deployment(namespace, "web", "@yearly");
    expect(classOf(await podOf(web, { runtimeClassName: "kcr" }))).toBe("kcr");
    await admin.request("POST", "/apis/node.k8s.io/v1/runtimeclasses", {
      body: {
        apiVersion: "node.k8s.io/v1",
        kind: "RuntimeClass",
        metadata: { name: "own" },
        handler: "runc",
      },
    });
    expect(classOf(await podOf(web, { runtimeClassName: "own" }))).toBe("own");
    expect(classOf(await podOf(web, { hostPID: true }))).toBeUndefined();
  });

  it("leaves pods alone that no node with the handler can have", async () => {
    const namespace = await makeNamespace(admin, "nowhere");
    const web = await deployment(namespace, "web", "@yearly");
    expect(classOf(await podOf(web, { nodeName: "plain-1" }))).toBeUndefined();
    expect(classOf(await podOf(web, { nodeName: "ready-1" }))).toBe("kcr");
    const resources = { requests: { cpu: "5" } };
    const large = { containers: [{ name: "app", image: "app:1", resources }] };
    expect(classOf(await podOf(web, large))).toBeUndefined();
    // Nobody binds pods here: those made by other tests wait, but ask for nothing.
    const half = { containers: [{ name: "app", image: "app:1", resources: { requests: { cpu: "2500m" } } }] };
    const [one, two] = [await podOf(web, half), await podOf(web, half)];
    expect([classOf(one), classOf(two)]).toEqual(["kcr", undefined]);
    await admin.delete(pods, one.metadata, { gracePeriodSeconds: 0 });
    await waitFor("room again", async () => classOf(await podOf(web, half)) === "kcr");
  });

  it("pins a DaemonSet's pod to nothing but what pins it already", async () => {
    const namespace = await makeNamespace(admin, "daemon");
    const owner = await admin.create(daemonSets, {
      metadata: { name: "d", namespace, annotations: { [SCHEDULE_ANNOTATION]: "@yearly" } },
      spec: { selector: { matchLabels: { app: "d" } }, template: template({ app: "d" }) },
    } as never);
    const on = (node: string) => {
      const matchFields = [{ key: "metadata.name", operator: "In", values: [node] }];
      const required = { nodeSelectorTerms: [{ matchFields }] };
      const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } };
      const metadata = { namespace, labels: { app: "d" }, ownerReferences: [ownerReference(owner)] };
      return makePod(metadata, { affinity });
    };
    expect(classOf(await on("plain-1"))).toBeUndefined();
    expect(classOf(await on("ready-1"))).toBe("kcr");
  });

  it("goes by schedules for pods without a workload, and by the workload's own schedule", async () => {
    const namespace = await makeNamespace(admin, "schedules");
    const schedule = (name: string, app: string, restore: object, more: object = {}) =>
      admin.create(schedules, {
        apiVersion: API_VERSION,
        kind: schedules.kind,
        metadata: { name, namespace, ...more },
        spec: { schedule: "@yearly", selector: { matchLabels: { app } }, restore },
      } as never);
    await schedule("bare", "bare", {});
    await schedule("image", "image", { strategy: "Image" });
    await schedule("never", "never", { policy: "Never" });
    const bare = (app: string) => makePod({ namespace, labels: { app } });
    await waitFor("the schedule to be known", async () => classOf(await bare("bare")) === "kcr");
    expect(classOf(await bare("image"))).toBeUndefined();
    expect(classOf(await bare("never"))).toBeUndefined();

    const web = await deployment(namespace, "web", "@yearly");
    await waitFor("its schedule", () => admin.get(schedules, { namespace, name: "web" }));
    const restore = { policy: "Never" };
    await admin.patch(schedules, { namespace, name: "web" }, { type: "merge", body: { spec: { restore } } });
    await waitFor("what it says to count", async () => classOf(await podOf(web)) === undefined);
  });

  it("and what follows from it for restores stand on pod and schedule, as long as they are protected", async () => {
    const namespace = await makeNamespace(admin, "strategy");
    const web = await deployment(namespace, "web", "@yearly");
    const condition = async (pod: Pod) =>
      (await admin.get(pods, pod.metadata)).status?.conditions?.find((c) => c.type === STRATEGY);
    const ofSchedule = async (reason: string) => {
      const { status } = await admin.get(schedules, { namespace, name: "web" });
      const seen = findCondition(status?.conditions, "Strategy");
      return seen?.reason === reason && seen;
    };
    const first = await podOf(web, { nodeName: "ready-1" });
    expect(await waitFor("the pod's strategy", () => condition(first))).toMatchObject({
      status: "True",
      reason: "HandlerClass",
    });
    await waitFor("the schedule's strategy", () => ofSchedule("HandlerClass"));

    const second = await podOf(web, { nodeName: "plain-1" });
    expect(await waitFor("the other's strategy", () => condition(second))).toMatchObject({
      status: "False",
      reason: "RuntimeFromNextPod",
    });
    const seen = await waitFor("the schedule to say so", () => ofSchedule("RuntimeFromNextPod"));
    expect(seen).toMatchObject({
      status: "False",
      message: expect.stringContaining("1 of 2 containers: Runtime"),
    });

    await admin.patch(nodes, { name: "ready-1" }, label(null));
    await waitFor("no node to be ready", async () => (await condition(second))?.reason === "NoHandlerNode");
    expect((await condition(first))?.reason).toBe("HandlerClass");
    await admin.patch(nodes, { name: "ready-1" }, label(RUNTIME_READY));

    const annotations = { [SCHEDULE_ANNOTATION]: null };
    await admin.patch(deployments, web.metadata, { type: "merge", body: { metadata: { annotations } } });
    await waitFor(
      "nothing to be said of what is not protected",
      async () => (await condition(first)) === undefined,
    );
  });

  it("leaves restores to the node: no record is kept of a pod of the class", async () => {
    const namespace = await makeNamespace(admin, "record");
    const web = await deployment(namespace, "web", "@yearly");
    const run = async (node: string) => {
      const pod = await podOf(web, { nodeName: node });
      const state = { running: { startedAt: new Date().toISOString() } };
      const started = { containerID: "containerd://1", imageID: "", ready: true, restartCount: 0, state };
      const status = { phase: "Running", containerStatuses: [{ name: "app", image: "app:1", ...started }] };
      await admin.patch(
        pods,
        pod.metadata,
        { type: "strategic", body: { status } },
        { subresource: "status" },
      );
      return pod;
    };
    const [ofClass, plain] = [await run("ready-1"), await run("plain-1")];
    const record = async (pod: Pod) =>
      (await admin.get(pods, pod.metadata)).metadata.annotations?.[RECORD_ANNOTATION];
    await waitFor("the record of the pod without the class", () => record(plain));
    expect(await record(ofClass)).toBeUndefined();
  });

  it("tells a person why a bare pod is left alone", async () => {
    const namespace = await makeNamespace(admin, "told");
    const { "kubernetes/kubectl": kubectl = "" } = await ensureBinaries(["kubernetes/kubectl"]);
    await admin.create(schedules, {
      apiVersion: API_VERSION,
      kind: schedules.kind,
      metadata: { name: "bare", namespace },
      spec: { schedule: "@yearly", selector: { matchLabels: { app: "bare" } } },
    });
    const overrides = JSON.stringify({ spec: { nodeSelector: { disk: "none" } } });
    const args = [
      "--kubeconfig",
      api.kubeconfig,
      "-n",
      namespace,
      "run",
      "x",
      "--image=app",
      "--labels=app=bare",
    ];
    await waitFor("the warning", async () => {
      const dry = ["--dry-run=server", `--overrides=${overrides}`];
      const { stderr } = await promisify(execFile)(kubectl, [...args, ...dry]);
      return stderr.includes("no node that it may be on has the handler ready");
    });
  });

  it("gives its certificates back to whoever took them away", async () => {
    const { webhooks } = await admin.get(mutatingWebhookConfigurations, { name: CONFIGURATION });
    const trusted = webhooks?.[0]?.clientConfig.caBundle;
    expect(trusted).toBeTruthy();
    await admin.patch(
      mutatingWebhookConfigurations,
      { name: CONFIGURATION },
      {
        type: "json",
        body: [{ op: "remove", path: "/webhooks/0/clientConfig/caBundle" }],
      },
    );
    await waitFor("the caBundle to be back", async () => {
      const now = await admin.get(mutatingWebhookConfigurations, { name: CONFIGURATION });
      return now.webhooks?.[0]?.clientConfig.caBundle === trusted;
    });
    await admin.delete(secrets, { namespace: SYSTEM, name: WEBHOOK });
    await waitFor("another Secret, and trust in it", async () => {
      const { data } = await admin.get(secrets, { namespace: SYSTEM, name: WEBHOOK });
      const now = await admin.get(mutatingWebhookConfigurations, { name: CONFIGURATION });
      const bundle = now.webhooks?.[0]?.clientConfig.caBundle;
      return bundle !== trusted && bundle === data?.["ca.crt"];
    });
  });

  it("renews authority and certificate with no pod let through meanwhile", async () => {
    const name = { namespace: SYSTEM, name: WEBHOOK };
    const namespace = await makeNamespace(admin, "rotation");
    const web = await deployment(namespace, "web", "@yearly");
    await waitFor("the webhook", async () => classOf(await podOf(web)) === "kcr");
    // Both are old enough to be renewed, and trusted for a while already.
    const ago = (days: number) => new Date(Date.now() - days * DAY);
    const authority = createAuthority("old", { notBefore: ago(300), notAfter: ago(-65) });
    const { data } = await admin.get(secrets, name);
    const before = fromSecretData(data);
    const names = ["kcr-webhook.kcr-system.svc", "kcr-webhook.kcr-system.svc.cluster.local"];
    const aged = issue(authority, { commonName: "old", names }, { notBefore: ago(70), notAfter: ago(-20) });
    // First only trusted beside the other one, then served.
    const both = { authorities: [...before.authorities, authority], serving: before.serving };
    await admin.patch(secrets, name, { type: "merge", body: { data: toSecretData(both) } });
    const bundled = async () => {
      const now = await admin.get(mutatingWebhookConfigurations, { name: CONFIGURATION });
      return Buffer.from(now.webhooks?.[0]?.clientConfig.caBundle ?? "", "base64").toString();
    };
    await waitFor("both to be trusted", async () => (await bundled()) === bundleOf(both));

    let rotated = false;
    let pods = 0;
    const missed: number[] = [];
    const making = (async () => {
      while (!rotated) {
        if (classOf(await podOf(web)) !== "kcr") missed.push(pods);
        pods++;
      }
    })();
    await waitFor("some pods", () => pods > 3);
    await admin.patch(secrets, name, {
      type: "merge",
      body: { data: toSecretData({ ...both, serving: aged }) },
    });
    await waitFor("the certificate to be renewed", async () => {
      const { serving } = fromSecretData((await admin.get(secrets, name)).data);
      return serving !== undefined && serving.cert !== aged.cert && serving.cert !== before.serving?.cert;
    });
    const seen = pods;
    await waitFor("more pods", () => pods > seen + 10);
    rotated = true;
    await making;
    expect(missed).toEqual([]);
  });

  it("that is down keeps no pod from being made, or waiting long", async () => {
    const namespace = await makeNamespace(admin, "down");
    const web = await deployment(namespace, "web", "@yearly");
    await end();
    const began = performance.now();
    expect(classOf(await podOf(web))).toBeUndefined();
    expect(performance.now() - began).toBeLessThan(3000);

    // Worse than a port where nobody listens: one where nobody answers.
    const silentServer = createServer(() => {}).listen(port, "127.0.0.1");
    await new Promise((resolve) => silentServer.once("listening", resolve));
    const sockets = new Set<{ destroy(): void }>();
    silentServer.on("connection", (socket) => sockets.add(socket));
    const again = performance.now();
    expect(classOf(await podOf(web))).toBeUndefined();
    expect(performance.now() - again).toBeLessThan(3000);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silentServer.close(resolve));

    await start();
    await waitFor("the webhook to answer again", async () => classOf(await podOf(web)) === "kcr");
  });
});
