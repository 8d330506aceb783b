import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { stringify } from "yaml";
import { isTrue } from "../../src/api/conditions.ts";
import { checkpoints, isGood, requests, schedules } from "../../src/api/kinds.ts";
import { TRACEPARENT_ANNOTATION } from "../../src/api/labels.ts";
import { NODES_NAMESPACE } from "../../src/api/node-account.ts";
import { Client } from "../../src/kube/client.ts";
import { leases, namespaces, nodes, type Pod, pods } from "../../src/kube/resources.ts";
import { writeStatus } from "../../src/kube/write.ts";
import { type FaultProxy, startFaultProxy } from "../faults/proxy.ts";
import { type ApiServer, startApiServer } from "../support/apiserver.ts";
import { writeCheckpoint } from "../support/archive.ts";
import { type Collector, startCollector } from "../support/collector.ts";
import { installCrds } from "../support/crds.ts";
import { freePorts } from "../support/free-ports.ts";
import { type CheckpointCall, type StandInKubelet, standInKubelet } from "../support/kubelet.ts";
import { metricsNamed } from "../support/monitoring.ts";
import { makeNamespace } from "../support/namespace.ts";
import { type Program, startProgram } from "../support/program.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { waitFor } from "../support/wait-for.ts";

const NAMESPACE = "kcr-system";
const NODE = "worker-1";

/** Operator and agent as processes, on a real API server and a real registry; the kubelet's answers are the test's. */
describe.skipIf(inject("kubeconfig") === undefined)("operator and agent, seen from outside,", () => {
  const stack = new AsyncDisposableStack();
  let server: ApiServer;
  let proxy: FaultProxy;
  let client: Client;
  let registry: TestRegistry;
  let collector: Collector;
  let kubelet: StandInKubelet;
  let directory: string;
  let namespace: string;
  let operator: Program;
  let agent: Program;
  /** What a dump waits for. */
  let gate = Promise.resolve();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-observed-"));
    stack.defer(() => rm(directory, { recursive: true }));
    await mkdir(join(directory, "checkpoints"));
    server = await startApiServer();
    stack.defer(() => server.stop());
    client = Client.fromConfig({ kubeconfig: server.kubeconfig });
    stack.defer(() => client.close());
    await installCrds(client);
    for (const name of [NAMESPACE, NODES_NAMESPACE]) await client.create(namespaces, { metadata: { name } });
    namespace = await makeNamespace(client, "shop");
    const node = await client.create(nodes, { metadata: { name: NODE } });
    await writeStatus(client, nodes, node, { conditions: [{ type: "Ready", status: "True" }] });
    proxy = stack.use(await startFaultProxy(server.kubeconfig));
    await writeFile(join(directory, "kubeconfig"), proxy.kubeconfig);
    registry = await startRegistry();
    stack.defer(() => registry.stop());
    collector = stack.use(await startCollector());
    kubelet = await standInKubelet(directory, dump);
    stack.defer(() => kubelet.close());
    const config = {
      registry: { push: registry.address, plainHttp: true },
      local: { directory: join(directory, "kcr") },
      kubelet: {
        port: kubelet.options.port,
        caFile: kubelet.options.caFile,
        checkpointDirectory: join(directory, "checkpoints"),
      },
    };
    await writeFile(join(directory, "config.yaml"), stringify(config));
  }, 120_000);
  afterAll(() => stack.disposeAsync());

  const env = () => ({
    KUBECONFIG: join(directory, "kubeconfig"),
    KCR_CONFIG: join(directory, "config.yaml"),
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
  async function startOperator(name: string): Promise<Program> {
    const [health, webhook] = await freePorts(2);
    const own = { POD_NAME: name, POD_NAMESPACE: NAMESPACE, KCR_WEBHOOK_PORT: String(webhook) };
    return stack.use(startProgram("operator", health!, { ...env(), ...own }));
  }
  async function startAgent(): Promise<Program> {
    const [health] = await freePorts(1);
    const own = { NODE_NAME: NODE, HOST_IP: "127.0.0.1" };
    return stack.use(startProgram("agent", health!, { ...env(), ...own }));
  }

  async function dump({ namespace, pod, container }: CheckpointCall) {
    await gate;
    const { metadata } = await client.get(pods, { namespace, name: pod });
    const name = `checkpoint-${pod}_${namespace}-${container}-${new Date().toISOString()}.tar`;
    await writeCheckpoint(join(directory, "checkpoints", name), {
      podName: pod,
      podNamespace: namespace,
      podUid: metadata.uid,
      containerName: container,
      containerId: idOf(pod),
    });
    return {
      status: 200,
      body: JSON.stringify({ items: [`/var/lib/kubelet/checkpoints/${name}`] }),
    };
  }
  const idOf = (pod: string) => createHash("sha256").update(pod).digest("hex");

  async function runningPod(name: string): Promise<Pod> {
    const pod = await client.create(pods, {
      metadata: { name, namespace, labels: { app: name } },
      spec: { nodeName: NODE, containers: [{ name: "app", image: "app:1" }] },
    } as Pod);
    const status = {
      name: "app",
      image: "app:1",
      imageID: `app@sha256:${"2".repeat(64)}`,
      ready: true,
      restartCount: 0,
      containerID: `containerd://${idOf(name)}`,
      state: { running: { startedAt: new Date().toISOString() } },
    };
    return await writeStatus(client, pods, pod, { phase: "Running", containerStatuses: [status] });
  }
  const statusOf = async (program: Program, path: string) => (await program.ask(path)).status;
  const isReady = (program: Program) => async () => (await statusOf(program, "/readyz")) === 200;

  it("are ready once their caches are, and no sooner", async () => {
    for (const [start, late] of [
      [() => startOperator("first"), "/nodes?"],
      [startAgent, "/checkpointrequests?"],
    ] as const) {
      proxy.befall = ({ url }) => (url.includes(late) ? { type: "stall", afterBytes: 10 } : undefined);
      const stalled = () => proxy.befallen.get("stall") ?? 0;
      const before = stalled();
      const program = await start();
      await waitFor("the list to stall", () => stalled() > before);
      await waitFor("the health port to answer", async () => (await statusOf(program, "/healthz")) === 200);
      // All else is there long before: what is missing is what counts.
      await waitFor("all other lists", () => proxy.watches >= 3);
      expect(await statusOf(program, "/readyz")).toBe(503);
      proxy.befall = () => undefined;
      proxy.cut();
      await waitFor("it to be ready", isReady(program));
      if (operator === undefined) operator = program;
      else agent = program;
    }
  });

  it("tell one checkpoint, from its slot to its image, as one trace", async () => {
    const pod = await runningPod("web");
    const schedule = await client.create(schedules, {
      metadata: { name: "web", namespace },
      spec: { schedule: "0 * * * *", selector: { matchLabels: { app: "web" } } },
    });
    await waitFor("the pod to be seen", async () => {
      const { status } = await client.get(schedules, schedule.metadata);
      return isTrue(status?.conditions, "Ready");
    });
    // The slot of this hour was missed: it is caught up at once.
    await client.patch(
      schedules,
      schedule.metadata,
      { type: "merge", body: { status: { lastRunTime: "2026-01-01T00:00:00Z" } } },
      { subresource: "status" },
    );
    const request = await waitFor("the request to be completed", async () => {
      const { items } = await client.list(requests, { namespace });
      return items.find(({ spec, status }) => {
        return spec.podReference.name === pod.metadata.name && status?.phase === "Completed";
      });
    });
    const [, traceId] = request.metadata.annotations?.[TRACEPARENT_ANNOTATION]?.split("-") ?? [];
    const steps = ["slot", "checkpoint", "admission", "dump", "push"];
    const spans = await waitFor("all spans", () => {
      const all = collector.spans.filter((span) => span.traceId === traceId);
      return steps.every((step) => all.some(({ name }) => name === step)) && all;
    });
    const [slot, checkpoint, admission, dumped, push] = steps.map(
      (step) => spans.find(({ name }) => name === step)!,
    );
    expect(slot?.parentSpanId).toBeUndefined();
    expect(checkpoint?.parentSpanId).toBe(slot?.spanId);
    for (const step of [admission, dumped, push]) expect(step?.parentSpanId).toBe(checkpoint?.spanId);
    for (const told of [slot, checkpoint, admission]) {
      expect(told?.resource).toEqual({ "service.name": "kcr-operator" });
    }
    for (const told of [dumped, push]) expect(told?.resource).toEqual({ "service.name": "kcr-agent" });
    expect(checkpoint?.attributes).toMatchObject({
      "k8s.namespace.name": namespace,
      "k8s.pod.name": "web",
      "k8s.node.name": NODE,
      "kcr.schedule": "web",
      "kcr.size_bytes": expect.any(Number),
    });
    const [startOf, endOf] = [dumped, push].map((span) => BigInt(span!.startTimeUnixNano));
    expect(endOf! >= startOf!).toBe(true);
  });

  it("serve every metric that alerts and dashboard name", async () => {
    const served = new Set<string>();
    for (const program of [operator, agent]) {
      const { body } = await program.ask("/metrics");
      for (const [, name] of body.matchAll(/^# TYPE (\S+) /gm)) served.add(name!);
    }
    const named = await metricsNamed();
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !served.has(name))).toEqual([]);
    const { body } = await agent.ask("/metrics");
    for (const line of [
      'kcr_dump_seconds_count{engine="kubelet"} 1',
      "kcr_push_seconds_count 1",
      'kcr_checkpoint_size_bytes_count{engine="kubelet"} 1',
      "kcr_runtime_ready 0",
    ]) {
      expect(body).toContain(`${line}\n`);
    }
    const leader = (await operator.ask("/metrics")).body;
    expect(leader).toContain('leader_election_master_status{name="kcr-operator"} 1\n');
    expect(leader).toContain('kcr_requests_ended_total{phase="Completed",reason=""} 1\n');
    expect(leader).toMatch(/^kcr_stored_bytes\{place="registry",node="worker-1"\} [1-9]/m);
    expect(leader).toMatch(
      /^rest_client_requests_total\{code="200",method="GET",host="127\.0\.0\.1:\d+"\} [1-9]/m,
    );
  });

  it("change their log level while they run", async () => {
    for (const program of [operator, agent]) {
      expect(program.log.some(({ level }) => level === 20)).toBe(false);
      expect((await program.ask("/loglevel", { method: "PUT", body: "debug" })).status).toBe(200);
      expect((await program.ask("/loglevel")).body).toBe("debug\n");
      // Something is always looked at again, sooner or later; here it is made to be.
      const touched = { metadata: { labels: { touched: `${operator.log.length}` } } };
      await client.patch(nodes, { name: NODE }, { type: "merge", body: touched });
      await waitFor("more to be said", () => program.log.some(({ level }) => level === 20));
    }
  });

  it("end at SIGTERM with nothing lost: the dump that is under way, and the lead", async () => {
    const opened = Promise.withResolvers<void>();
    gate = opened.promise;
    await runningPod("slow");
    const name = { namespace, name: "slow" };
    await client.create(requests, { metadata: name, spec: { podReference: { name: "slow" } } });
    await waitFor("the dump to begin", () => kubelet.active === 1);
    const second = await startOperator("second");
    await waitFor("another operator to stand by", isReady(second));

    agent.signal("SIGTERM");
    operator.signal("SIGTERM");
    // Its pod has 20 s, three of which it waits before it is told.
    const grace = AbortSignal.timeout(15_000);
    expect(await orTooLate(operator.ended, grace)).toEqual({ code: 0, signal: null });
    const holder = async () =>
      (await client.get(leases, { namespace: NAMESPACE, name: "kcr-operator" })).spec?.holderIdentity ?? "";
    await waitFor("the other one to lead", async () => (await holder()).startsWith("second_"), {
      // Nobody waits for the lease to run out.
      timeoutMs: 8_000,
    });

    expect(agent.log.some(({ msg }) => msg === "stopping")).toBe(true);
    expect((await client.get(requests, name)).status?.phase).toBe("InProgress");
    opened.resolve();
    expect(await orTooLate(agent.ended, AbortSignal.timeout(15_000))).toEqual({ code: 0, signal: null });
    const { status } = await client.get(requests, name);
    expect(status?.phase).toBe("Completed");
    expect(kubelet.calls.filter(({ pod }) => pod === "slow")).toHaveLength(1);

    // What is left to do another one does.
    agent = await startAgent();
    await waitFor("the Checkpoint to be good", async () => {
      const checkpoint = { namespace, name: status?.checkpoint?.name ?? "" };
      return isGood(await client.get(checkpoints, checkpoint));
    });
    expect(kubelet.calls.filter(({ pod }) => pod === "slow")).toHaveLength(1);
  });
});

/** What `promise` gives, or in how much time it did not. */
function orTooLate<T>(promise: Promise<T>, limit: AbortSignal): Promise<T | "too late"> {
  const late = new Promise<"too late">((resolve) => {
    limit.addEventListener("abort", () => resolve("too late"), { once: true });
  });
  return Promise.race([promise, late]);
}
