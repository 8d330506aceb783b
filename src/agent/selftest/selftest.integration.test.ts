import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { installCrds } from "../../../test/support/crds.ts";
import {
  type CheckpointAnswer,
  type CheckpointCall,
  type StandInKubelet,
  standInKubelet,
} from "../../../test/support/kubelet.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { installRuntimeClasses } from "../../../test/support/runtime-classes.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { hasHandlerReady, readSelftest } from "../../api/selftest.ts";
import { settings } from "../../api/settings.ts";
import { Client } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { silent } from "../../kube/log.ts";
import { events, type Node, nodes, type Pod, pods } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { Layout } from "../../store/layout.ts";
import { NOTE_VERSION } from "../../store/notes.ts";
import { type Plan, parsePlan } from "../../store/plan.ts";
import { createAgent } from "../agent.ts";
import { selftestName } from "./pod.ts";

const kubeconfig = inject("kubeconfig");
const ID = "d".repeat(64);

/** The agent on a real API server; kubelet and handler are played by the test. */
describe.skipIf(kubeconfig === undefined)("the self-test of a handler played by the test", () => {
  let client: Client;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    await installRuntimeClasses(client);
  });

  let directory: string;
  let archives: string;
  let layout: Layout;
  let namespace: string;
  let node: string;
  let name: string;
  let kubelet: StandInKubelet;
  let answer: (call: CheckpointCall) => Promise<CheckpointAnswer>;
  let stop: AbortController;
  let running: Promise<void> | undefined;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-selftest-"));
    archives = join(directory, "checkpoints");
    await mkdir(archives);
    layout = new Layout(join(directory, "kcr"));
    namespace = await makeNamespace(client, "kcr-system");
    node = `node-of-${namespace}`;
    name = selftestName(node);
    answer = dump;
    kubelet = await standInKubelet(directory, (call) => answer(call));
    const made = await client.create(nodes, { metadata: { name: node } });
    await offer(made, ["", "kcr", "kcr-selftest"]);
    await client.create(pods, {
      metadata: { name: "kcr-agent-1", namespace },
      spec: { nodeName: node, containers: [{ name: "agent", image: "registry.example/kcr:1" }] },
    });
  });
  afterEach(async () => {
    await stopAgent();
    kubelet.close();
    await client.delete(nodes, { name: node });
    await rm(directory, { recursive: true });
  });

  async function startAgent(): Promise<void> {
    stop = new AbortController();
    const agent = createAgent({
      node,
      client,
      settings: settings.parse({
        store: "node",
        local: { directory: layout.root },
        kubelet: { checkpointDirectory: archives },
        selftest: { timeoutSeconds: 120 },
      }),
      kubelet: kubelet.options,
      self: { namespace, pod: "kcr-agent-1" },
      log: silent,
      now: () => new Date(),
    });
    running = agent.run(stop.signal);
    running.catch(() => {});
    await waitFor("the agent's caches", () => agent.ready());
  }
  async function stopAgent(): Promise<void> {
    stop?.abort();
    await running;
    running = undefined;
  }

  /** What the node's runtime offers, as its kubelet reports it. */
  async function offer(to: Node, handlers: string[]): Promise<void> {
    await client.patch(
      nodes,
      to.metadata,
      {
        type: "merge",
        body: { status: { runtimeHandlers: handlers.map((handler) => ({ name: handler })) } },
      },
      { subresource: "status" },
    );
  }
  const nodeNow = (): Promise<Node> => client.get(nodes, { name: node });
  const testPod = () =>
    waitFor("the self-test's pod", async () => {
      const pod = await client.get(pods, { namespace, name });
      return pod.metadata.deletionTimestamp === undefined && pod;
    });
  /** What the kubelet says of its container. */
  async function report(pod: Pod, container: object, phase = "Running"): Promise<void> {
    const status = { name: "selftest", image: "i", imageID: "i", ready: true, restartCount: 0, ...container };
    await writeStatus(client, pods, await client.get(pods, pod.metadata), {
      phase,
      containerStatuses: [status],
    });
  }
  const runs = (pod: Pod) =>
    report(pod, {
      containerID: `containerd://${ID}`,
      state: { running: { startedAt: new Date().toISOString() } },
    });
  async function dump(call: CheckpointCall): Promise<CheckpointAnswer> {
    const { metadata } = await client.get(pods, { namespace, name: call.pod });
    const file = `checkpoint-${call.pod}_${call.namespace}-${call.container}-${new Date().toISOString()}.tar`;
    await writeCheckpoint(join(archives, file), {
      podName: call.pod,
      podNamespace: call.namespace,
      podUid: metadata.uid,
      containerName: call.container,
      containerId: ID,
    });
    return { status: 200, body: JSON.stringify({ items: [`/var/lib/kubelet/checkpoints/${file}`] }) };
  }
  const keyOf = (pod: Pod) => ({ podUID: pod.metadata.uid ?? "", container: "selftest" });
  const planOf = (pod: Pod): Promise<Plan> =>
    waitFor("the plan", async () => parsePlan(await readFile(layout.plan(keyOf(pod)), "utf8")));
  const told = () =>
    waitFor("the program to be told to end", () => readFile(join(layout.selftest, "crash")).then(() => true));
  const remembers = (pod: Pod) =>
    report(
      pod,
      {
        restartCount: 1,
        state: { terminated: { exitCode: 0, message: "restored after 41 ticks, began 1767268800\n" } },
      },
      "Succeeded",
    );
  const labelled = (value: string | undefined) =>
    waitFor(`the label to be ${value}`, async () => {
      const now = await nodeNow();
      return now.metadata.labels?.["kcr.io/runtime"] === value && readSelftest(now);
    });
  const nothingLeft = () =>
    waitFor("everything of the test to go", async () => {
      const gone = await client.get(pods, { namespace, name }).then(() => false, isNotFound);
      const files = await Promise.all(
        [layout.selftest, layout.plans, layout.copies, archives].map((d) => readdir(d)),
      );
      return gone && files.flat().length === 0;
    });

  async function pass(): Promise<void> {
    const pod = await testPod();
    await runs(pod);
    await told();
    await remembers(pod);
  }

  it("goes from the pod over checkpoint, copy, plan and crash to the label, and leaves nothing", async () => {
    await startAgent();
    const pod = await testPod();
    expect(pod.spec).toMatchObject({
      runtimeClassName: "kcr-selftest",
      nodeName: node,
      containers: [{ image: "registry.example/kcr:1" }],
      volumes: [{ hostPath: { path: layout.selftest } }],
    });
    expect(kubelet.calls).toHaveLength(0);
    await runs(pod);
    expect(await planOf(pod)).toMatchObject({
      run: ID,
      onFailure: true,
      candidates: [{ containerID: ID, copy: expect.stringMatching(/^[0-9a-f]{64}$/) }],
    });
    await told();
    expect(await readdir(layout.copies)).toHaveLength(1);
    await remembers(pod);
    expect(await labelled("ready")).toMatchObject({
      result: "ready",
      message: expect.stringContaining("41 ticks"),
    });
    await nothingLeft();
    expect(kubelet.calls).toHaveLength(1);
  });

  it("that was begun by an agent that was killed is finished by the next", async () => {
    await startAgent();
    const pod = await testPod();
    await runs(pod);
    await told();
    await stopAgent();
    await remembers(pod);
    await startAgent();
    await labelled("ready");
    await nothingLeft();
    expect(kubelet.calls).toHaveLength(1);
  });

  it("is made again when somebody takes the label away", async () => {
    await startAgent();
    await pass();
    await labelled("ready");
    await nothingLeft();
    await client.patch(
      nodes,
      { name: node },
      { type: "merge", body: { metadata: { labels: { "kcr.io/runtime": null } } } },
    );
    await pass();
    await labelled("ready");
  });

  it("that fails takes the label away, says why on the node and on its agent, and leaves nothing", async () => {
    await client.patch(
      nodes,
      { name: node },
      { type: "merge", body: { metadata: { labels: { "kcr.io/runtime": "ready" } } } },
    );
    await startAgent();
    const pod = await testPod();
    await runs(pod);
    await told();
    const notes = layout.notes(keyOf(pod));
    await mkdir(notes, { recursive: true });
    const note = {
      version: NOTE_VERSION,
      ...keyOf(pod),
      type: "fresh",
      pod: name,
      namespace,
      containerID: "e",
      time: new Date().toISOString(),
      cause: "exit code 3",
      reason: "RestoreFailed",
      message: "criu is not there",
      lost: true,
      failed: [],
    };
    await writeFile(join(notes, `${Date.now()}-e.json`), JSON.stringify(note));
    expect(await labelled(undefined)).toMatchObject({
      result: "failed",
      reason: "RestoreFailed",
      message: "criu is not there",
    });
    const regarding = await waitFor("both Events", async () => {
      const { items } = await client.list(events);
      const of = items.filter((e) => e.reason === "SelfTestFailed" && e.reportingInstance === node);
      return of.length === 2 && of.map((e) => e.regarding?.kind).sort();
    });
    expect(regarding).toEqual(["Node", "Pod"]);
    await nothingLeft();
    await waitFor("the handler's notes to go", async () => (await readdir(layout.runs)).length === 0);
    const { items } = await client.list(events, { namespace });
    expect(items.filter((e) => e.reason === "StartedFresh")).toEqual([]);
  });

  it("that fails leaves the label until the last pod has gone that its kubelet would throw out without it", async () => {
    await startAgent();
    await pass();
    await labelled("ready");
    const app = await client.create(pods, {
      metadata: { name: "app", namespace },
      spec: {
        nodeName: node,
        runtimeClassName: "kcr",
        nodeSelector: { "kcr.io/runtime": "ready" },
        containers: [{ name: "app", image: "app:1" }],
      },
    });
    await offer(await nodeNow(), [""]);
    const result = await waitFor("the result", async () => {
      const found = readSelftest(await nodeNow());
      return found?.result === "absent" && found;
    });
    expect(result.message).toContain("does not offer");
    expect((await nodeNow()).metadata.labels?.["kcr.io/runtime"]).toBe("ready");
    expect(hasHandlerReady(await nodeNow())).toBe(false);
    await client.delete(pods, app.metadata, { gracePeriodSeconds: 0 });
    await labelled(undefined);
  });

  it("ends with what the kubelet says when it cannot checkpoint", async () => {
    answer = async () => ({ status: 500, body: "criu failed: type NOTIFY errno 0" });
    await startAgent();
    await runs(await testPod());
    const result = await waitFor("the result", async () => readSelftest(await nodeNow()));
    expect(result).toMatchObject({ result: "failed", reason: "CheckpointFailed" });
    await nothingLeft();
  });

  it("is not made where the runtime does not offer the handler, and the label goes", async () => {
    await startAgent();
    await pass();
    await labelled("ready");
    await offer(await nodeNow(), [""]);
    expect(await labelled(undefined)).toMatchObject({ result: "absent" });
    await nothingLeft();
  });

  it("is not made while the handler is being taken away, though it is offered still", async () => {
    await mkdir(layout.root, { recursive: true });
    await writeFile(layout.disabled, "");
    await startAgent();
    expect(await labelled(undefined)).toMatchObject({
      result: "absent",
      message: expect.stringContaining("being taken away"),
    });
    await nothingLeft();
  });
});
