import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { type CheckpointSpec, hole, writeCheckpoint } from "../../test/support/archive.ts";
import { installCrds } from "../../test/support/crds.ts";
import {
  type CheckpointAnswer,
  type CheckpointCall,
  type StandInKubelet,
  standInKubelet,
} from "../../test/support/kubelet.ts";
import { makeNamespace } from "../../test/support/namespace.ts";
import { startRegistry, type TestRegistry } from "../../test/support/registry.ts";
import { type RegistryRelay, startRegistryRelay } from "../../test/support/registry-relay.ts";
import { installRuntimeClasses } from "../../test/support/runtime-classes.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { ARCHIVE_FINALIZER, type Checkpoint, IMAGE_FINALIZER } from "../api/checkpoint.ts";
import { findCondition } from "../api/conditions.ts";
import { API_VERSION } from "../api/group.ts";
import { checkpoints, isGood, requests, schedules } from "../api/kinds.ts";
import { RECORD_ANNOTATION, SLOT_ANNOTATION } from "../api/labels.ts";
import { imageTag } from "../api/names.ts";
import type { CheckpointRequest, RequestSpec, RequestStatus } from "../api/request.ts";
import { settings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { isNotFound } from "../kube/errors.ts";
import { silent } from "../kube/log.ts";
import { events, type Pod, pods } from "../kube/resources.ts";
import { writeStatus } from "../kube/write.ts";
import type { Digest } from "../oci/digest.ts";
import { verifyImage } from "../oci/push.ts";
import { RegistryClient } from "../oci/registry.ts";
import { Layout } from "../store/layout.ts";
import { formatLast, LAST, type RunState, STATE, STATE_VERSION } from "../store/runs.ts";
import { createAgent } from "./agent.ts";
import { noteBegun } from "./dump/begun.ts";

const kubeconfig = inject("kubeconfig");
/** 2026-01-01T12:00:00Z */
const slot = 1767268800;

/** The agent as it is, on a real API server and a real registry; the kubelet's answers are the test's. */
describe.skipIf(kubeconfig === undefined)("the agent", () => {
  let client: Client;
  let registry: TestRegistry;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    await installRuntimeClasses(client);
    registry = await startRegistry();
  });
  afterAll(() => registry?.stop());

  let directory: string;
  let archives: string;
  let namespace: string;
  let node: string;
  let kubelet: StandInKubelet;
  /** What the kubelet does; by default it dumps. */
  let answer: (call: CheckpointCall) => Promise<CheckpointAnswer>;
  /** Where the agent pushes to; by default the registry. */
  let push: string;
  /** What is to stay free of the disk. */
  let reserveBytes: number;
  let stop: AbortController;
  let running: Promise<void> | undefined;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-agent-"));
    archives = join(directory, "checkpoints");
    await mkdir(archives);
    namespace = await makeNamespace(client, "shop");
    node = `node-of-${namespace}`;
    answer = dump;
    push = registry.address;
    reserveBytes = 0;
    kubelet = await standInKubelet(directory, (call) => answer(call));
  });
  afterEach(async () => {
    await stopAgent();
    kubelet.close();
    await rm(directory, { recursive: true });
  });

  async function startAgent(): Promise<void> {
    stop = new AbortController();
    const agent = createAgent({
      node,
      client,
      settings: settings.parse({
        registry: { push, pull: "registry.example:5000", plainHttp: true },
        local: { directory: join(directory, "kcr") },
        kubelet: { checkpointDirectory: archives },
        disk: { reserveBytes },
      }),
      kubelet: kubelet.options,
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

  /** A running pod on the node; its containers' IDs are made of their names. */
  async function runningPod(
    name: string,
    containers = ["app"],
    metadata: object = {},
    spec: object = {},
  ): Promise<Pod> {
    const pod = await client.create(pods, {
      metadata: { name, namespace, ...metadata },
      spec: { ...spec, nodeName: node, containers: containers.map((c) => ({ name: c, image: `${c}:1` })) },
    } as Pod);
    const containerStatuses = containers.map((c) => ({
      name: c,
      image: `${c}:1`,
      imageID: `${c}@sha256:${"2".repeat(64)}`,
      ready: true,
      restartCount: 0,
      containerID: `containerd://${idOf(name, c)}`,
      state: { running: { startedAt: new Date().toISOString() } },
    }));
    return await writeStatus(client, pods, pod, { phase: "Running", containerStatuses });
  }
  /** What the operator notes on the pod about its container `app`. */
  async function noteRun(pod: Pod, record: object): Promise<void> {
    const text = JSON.stringify({ app: { podUID: pod.metadata.uid, ...record } });
    const body = { metadata: { annotations: { [RECORD_ANNOTATION]: text } } };
    await client.patch(pods, pod.metadata, { type: "merge", body });
  }
  const idOf = (pod: string, container: string) =>
    createHash("sha256").update(`${pod}/${container}`).digest("hex");

  /** A request as the operator hands it over. */
  async function handOver(
    name: string,
    pod: Pod,
    {
      spec = {},
      status = {},
      at = slot,
    }: { spec?: Partial<RequestSpec>; status?: RequestStatus; at?: number } = {},
  ): Promise<CheckpointRequest> {
    const request = await client.create(requests, {
      metadata: {
        name,
        namespace,
        annotations: { [SLOT_ANNOTATION]: new Date(at * 1000).toISOString() },
      },
      spec: { podReference: { name: pod.metadata.name }, ...spec },
    });
    return await writeStatus(client, requests, request, {
      phase: "Pending",
      nodeName: node,
      podUID: pod.metadata.uid,
      containerName: spec.containerName ?? "app",
      acceptedTime: new Date().toISOString(),
      ...status,
    });
  }

  /** Writes an archive as the kubelet of this node would. */
  async function writeArchive(call: CheckpointCall, spec: CheckpointSpec = {}): Promise<string> {
    const { metadata } = await client.get(pods, { namespace: call.namespace, name: call.pod });
    const time = new Date().toISOString();
    const name = `checkpoint-${call.pod}_${call.namespace}-${call.container}-${time}.tar`;
    await writeCheckpoint(join(archives, name), {
      podName: call.pod,
      podNamespace: call.namespace,
      podUid: metadata.uid,
      containerName: call.container,
      containerId: idOf(call.pod, call.container),
      ...spec,
    });
    return name;
  }
  const found = (name: string): CheckpointAnswer => ({
    status: 200,
    body: JSON.stringify({ items: [`/var/lib/kubelet/checkpoints/${name}`] }),
  });
  const dump = async (call: CheckpointCall) => found(await writeArchive(call));

  const requestNow = (name: string) => client.get(requests, { namespace, name });
  const ended = (name: string, phase: string) =>
    waitFor(`request ${name} to be ${phase}`, async () => {
      const request = await requestNow(name);
      return request.status?.phase === phase && request;
    });
  const allCheckpoints = async () => (await client.list(checkpoints, { namespace })).items;
  const checkpointNow = (name: string) => client.get(checkpoints, { namespace, name });
  const built = (name: string) =>
    waitFor(`Checkpoint ${name} to be built and its archive released`, async () => {
      const checkpoint = await checkpointNow(name);
      const released = !checkpoint.metadata.finalizers?.includes(ARCHIVE_FINALIZER);
      return checkpoint.status?.phase === "ImageBuilt" && released && checkpoint;
    });
  /** Nothing is pushed: the registry's address is one where nobody listens. */
  const withoutRegistry = () => {
    push = "127.0.0.1:1";
  };

  describe("dumps", () => {
    beforeEach(withoutRegistry);

    it("makes a Checkpoint that tells whose state it is", async () => {
      const parent = {
        lineage: { podUID: "x", containerID: "y", restartCount: 0 },
        baseImageDigest: "base@sha256:1",
      };
      const older = await client.create(checkpoints, {
        metadata: { name: "older", namespace },
        spec: {
          checkpointData: "checkpoint-x.tar",
          checkpointTimestamp: "2026-01-01T00:00:00Z",
          checkpointID: "older",
          containerName: "app",
          nodeName: "elsewhere",
        },
      });
      await writeStatus(client, checkpoints, older, parent);
      const owner = {
        apiVersion: "apps/v1",
        kind: "ReplicaSet",
        name: "cache-77",
        uid: "u",
        controller: true,
      };
      const pod = await runningPod("cache-77-abc", ["app"], {
        labels: { "pod-template-hash": "77" },
        ownerReferences: [owner],
      });
      const containerID = idOf("cache-77-abc", "app");
      await noteRun(pod, { originalImage: "app:true-base", run: 0, containerID, parent: "older" });
      const schedule = await client.create(schedules, {
        metadata: { name: "cache", namespace },
        spec: { schedule: "*/5 * * * *", selector: { matchLabels: { app: "cache" } } },
      });
      await handOver("r", pod, {
        spec: { checkpointScheduleRef: { name: "cache", uid: schedule.metadata.uid } },
      });
      await startAgent();

      const request = await ended("r", "Completed");
      const name = `cache-77-abc-${namespace}-${slot}`;
      expect(request.status).toMatchObject({
        checkpoint: { apiVersion: API_VERSION, kind: "Checkpoint", name },
        conditions: [{ type: "Ready", status: "True" }],
      });
      const checkpoint = await checkpointNow(name);
      expect(checkpoint).toMatchObject({
        metadata: {
          labels: {
            pod: "cache-77-abc",
            "pod-ns": namespace,
            container: "app",
            "checkpoint-request-name": "r",
          },
          ownerReferences: [{ kind: "CheckpointRequest", uid: request.metadata.uid, controller: true }],
          finalizers: [ARCHIVE_FINALIZER, IMAGE_FINALIZER],
        },
        spec: {
          checkpointID: name,
          containerName: "app",
          nodeName: node,
          schedule: "*/5 * * * *",
          selector: { matchLabels: { app: "cache" } },
          checkpointScheduleRef: { name: "cache" },
        },
        status: {
          lineage: {
            podUID: pod.metadata.uid,
            containerID: idOf("cache-77-abc", "app"),
            restartCount: 0,
            parent: "older",
          },
          baseImage: "app:true-base",
          baseImageDigest: "base@sha256:1",
          checkpointImage: `kcr/${namespace}/checkpoint-cache-app`,
          engine: "kubelet",
          frozenMicroseconds: 120_000,
          specHash: expect.stringMatching(/^sha256:/),
        },
      });
      expect(await readdir(archives)).toEqual([checkpoint.spec.checkpointData]);
      const { size } = await readFile(join(archives, checkpoint.spec.checkpointData)).then((b) => ({
        size: b.length,
      }));
      expect(checkpoint.status?.sizeBytes).toBe(size);
    });

    it("two containers of one pod in one slot: two Checkpoints", async () => {
      const pod = await runningPod("p", ["app", "side"]);
      await handOver("r1", pod);
      await handOver("r2", pod, { spec: { containerName: "side" } });
      await startAgent();
      await ended("r1", "Completed");
      await ended("r2", "Completed");
      const names = (await allCheckpoints()).map((c) => c.metadata.name).sort();
      expect(names).toEqual([`p-${namespace}-${slot}`, `p-${namespace}-side-${slot}`]);
    });

    it("a Checkpoint of the same name that is another request's is left alone", async () => {
      const pod = await runningPod("p");
      await handOver("r1", pod);
      await handOver("r2", pod);
      await startAgent();
      const [one, two] = [await ended("r1", "Completed"), await ended("r2", "Completed")];
      const names = [one, two].map((r) => r.status?.checkpoint?.name);
      expect(names.filter((name) => name === `p-${namespace}-${slot}`)).toHaveLength(1);
      expect(names.filter((name) => name?.startsWith(`p-${namespace}-${slot}-`))).toHaveLength(1);
      for (const { metadata, status } of [one, two]) {
        const { ownerReferences } = (await checkpointNow(status?.checkpoint?.name ?? "")).metadata;
        expect(ownerReferences?.[0]?.uid).toBe(metadata.uid);
      }
    });

    it("never two dumps of one container at once, and no more than two on the node", async () => {
      const pod = await runningPod("p", ["app", "b", "c"]);
      const release = Promise.withResolvers<void>();
      const perContainer = new Map<string, number>();
      answer = async (call) => {
        const now = (perContainer.get(call.container) ?? 0) + 1;
        perContainer.set(call.container, now);
        if (now > 1) return { status: 500, body: "two at once" };
        await release.promise;
        const result = await dump(call);
        perContainer.set(call.container, 0);
        return result;
      };
      for (const [name, containerName] of [
        ["r1", "app"],
        ["r2", "app"],
        ["r3", "b"],
        ["r4", "c"],
      ] as const) {
        await handOver(name, pod, { spec: { containerName } });
      }
      await startAgent();
      await waitFor("two dumps to be under way", () => kubelet.active === 2);
      release.resolve();
      for (const name of ["r1", "r2", "r3", "r4"]) await ended(name, "Completed");
      expect(kubelet.mostActive).toBe(2);
    });

    it("an error that passes is met with another try", async () => {
      answer = async (call) =>
        kubelet.calls.length === 1
          ? { status: 500, body: "cannot pause a paused container" }
          : await dump(call);
      await handOver("r", await runningPod("p"));
      await startAgent();
      await ended("r", "Completed");
      expect(kubelet.calls).toHaveLength(2);
    });

    it("an error that does not pass fails the request, and is told at the request and at the pod", async () => {
      answer = async () => ({ status: 500, body: "criu failed: type NOTIFY errno 0" });
      const pod = await runningPod("p");
      await handOver("r", pod);
      await startAgent();
      const { status } = await ended("r", "Failed");
      expect(status).toMatchObject({
        reason: "CheckpointFailed",
        message: expect.stringContaining("criu failed: type NOTIFY errno 0"),
        completionTime: expect.any(String),
        conditions: [{ type: "Ready", status: "False", reason: "CheckpointFailed" }],
      });
      expect(kubelet.calls).toHaveLength(1);
      const told = await waitFor("both Events", async () => {
        const { items } = await client.list(events, { namespace });
        const regarding = items.filter((e) => e.reason === "CheckpointFailed").map((e) => e.regarding?.kind);
        return regarding.length === 2 && regarding.sort();
      });
      expect(told).toEqual(["CheckpointRequest", "Pod"]);
    });

    it.each([
      ["a pod that was replaced", { podUID: "another" }, "PodNotFound"],
      ["a container that is not there", { containerName: "nope" }, "ContainerNotFound"],
    ])("%s is not dumped", async (_, status, code) => {
      await handOver("r", await runningPod("p"), { status });
      await startAgent();
      expect((await ended("r", "Failed")).status?.reason).toBe(code);
      expect(kubelet.calls).toHaveLength(0);
    });

    it("what would not leave the reserve free is not begun: the kubelet is never asked", async () => {
      reserveBytes = Number.MAX_SAFE_INTEGER;
      let calls = 0;
      answer = async (call) => {
        calls += 1;
        return await dump(call);
      };
      await handOver("r", await runningPod("cache"));
      await startAgent();
      const { status } = await ended("r", "Failed");
      expect(status).toMatchObject({ reason: "DiskPressure" });
      expect(status?.startTime).toBeUndefined();
      expect(calls).toBe(0);
    });

    it("an empty container, just restarted after a crash, is not dumped", async () => {
      const pod = await runningPod("p");
      await noteRun(pod, { originalImage: "app:1", run: 0, containerID: "the one that crashed" });
      await handOver("r", pod);
      await startAgent();
      expect((await ended("r", "Failed")).status?.reason).toBe("RestoreInProgress");
      expect(kubelet.calls).toHaveLength(0);
    });

    it("a container that crashed between the look at it and the dump leaves no Checkpoint of the empty one", async () => {
      answer = async (call) => found(await writeArchive(call, { containerId: "f".repeat(64) }));
      await handOver("r", await runningPod("p"));
      await startAgent();
      expect((await ended("r", "Failed")).status?.reason).toBe("RestoreInProgress");
      expect(await allCheckpoints()).toEqual([]);
      expect(await readdir(archives)).toEqual([]);
    });

    describe("of a pod of class kcr", () => {
      const kcrPod = () => runningPod("p", ["app"], {}, { runtimeClassName: "kcr" });
      const handlerWrites = async (pod: Pod, file: string, text: string) => {
        const run = new Layout(join(directory, "kcr")).run({
          podUID: pod.metadata.uid ?? "",
          container: "app",
        });
        await mkdir(run, { recursive: true });
        await writeFile(join(run, file), text);
      };
      const last = (id: string) => formatLast({ id, sandbox: "s", createdMs: 0 });

      it("tell what the handler knows of the run: where its state came from", async () => {
        const pod = await kcrPod();
        const id = idOf("p", "app");
        const takenTime = "2026-01-01T11:00:00.000Z";
        const from = { checkpoint: "older", uid: "u", copy: "a".repeat(64), takenTime, containerID: "c0" };
        const state: RunState = {
          version: STATE_VERSION,
          chain: ["c0", id],
          restoredFrom: from,
          crashes: {},
          passedOver: [],
          used: [],
        };
        await handlerWrites(pod, STATE, JSON.stringify(state));
        await handlerWrites(pod, LAST, last(id));
        await handOver("r", pod);
        await startAgent();
        const { status } = await checkpointNow(
          (await ended("r", "Completed")).status?.checkpoint?.name ?? "",
        );
        expect(status).toMatchObject({
          handler: "kcr",
          lineage: { containerID: id, parent: "older", parentOrigin: { containerID: "c0", takenTime } },
          baseImage: "app:1",
          baseImageDigest: `app@sha256:${"2".repeat(64)}`,
        });
      });

      it("are not made while the handler makes another run of it", async () => {
        const pod = await kcrPod();
        await handlerWrites(pod, LAST, last("next"));
        await handOver("r", pod);
        await startAgent();
        expect((await ended("r", "Failed")).status?.reason).toBe("RestoreInProgress");
        expect(kubelet.calls).toHaveLength(0);
      });
    });

    it.each<[string, CheckpointSpec]>([
      ["is not whole", { without: ["checkpoint/pstree.img"] }],
      ["is of another container", { containerName: "other" }],
      ["is of another tenant's pod", { podNamespace: "bank" }],
    ])("an archive that %s becomes no Checkpoint", async (_, spec) => {
      answer = async (call) => found(await writeArchive(call, spec));
      await handOver("r", await runningPod("p"));
      await startAgent();
      expect((await ended("r", "Failed")).status?.reason).toBe("ArchiveInvalid");
      expect(await allCheckpoints()).toEqual([]);
      expect(await readdir(archives)).toEqual([]);
    });
  });

  describe("deadlines", () => {
    beforeEach(withoutRegistry);

    it("a late dump fails its request, keeps its container locked, and its archive becomes the Checkpoint", async () => {
      const release = Promise.withResolvers<void>();
      answer = async (call) => {
        await release.promise;
        return await dump(call);
      };
      const pod = await runningPod("p");
      await handOver("late", pod, { spec: { timeoutSeconds: 1 } });
      await startAgent();
      const late = await ended("late", "Failed");
      expect(late.status).toMatchObject({ reason: "DeadlineExceeded" });
      expect(late.status?.checkpoint).toBeUndefined();

      await handOver("next", pod, { at: slot + 60 });
      await handOver("hasty", pod, { at: slot + 61, spec: { timeoutSeconds: 1 } });
      expect((await ended("hasty", "Failed")).status?.reason).toBe("DeadlineExceeded");
      expect(kubelet.calls).toHaveLength(1);

      release.resolve();
      const withCheckpoint = await waitFor("the late archive's Checkpoint", async () => {
        const request = await requestNow("late");
        return request.status?.checkpoint && request;
      });
      expect(withCheckpoint.status?.phase).toBe("Failed");
      expect(withCheckpoint.status?.checkpoint?.name).toBe(`p-${namespace}-${slot}`);
      await ended("next", "Completed");
      expect(kubelet.mostActive).toBe(1);
    });

    it("a late archive that is damaged is removed", async () => {
      const release = Promise.withResolvers<void>();
      answer = async (call) => {
        await release.promise;
        return found(await writeArchive(call, { without: ["checkpoint/pstree.img"] }));
      };
      await handOver("late", await runningPod("p"), { spec: { timeoutSeconds: 1 } });
      await startAgent();
      await ended("late", "Failed");
      release.resolve();
      await waitFor(
        "the archive to come and go",
        async () => kubelet.active === 0 && (await readdir(archives)).length === 0,
      );
      expect(await allCheckpoints()).toEqual([]);
    });
  });

  describe("taken up again after the agent was killed", () => {
    beforeEach(withoutRegistry);
    const source = (pod: Pod) => ({
      lineage: { podUID: pod.metadata.uid ?? "", containerID: idOf("p", "app"), restartCount: 0 },
      defaultContainer: "app",
      repository: `kcr/${namespace}/checkpoint-p-app`,
    });
    const left = (pod: Pod): RequestStatus => ({
      phase: "InProgress",
      startTime: new Date(Date.now() - 1000).toISOString(),
      source: source(pod),
    });
    const call = () => ({ namespace, pod: "p", container: "app" });

    it("before the dump: it is made", async () => {
      const pod = await runningPod("p");
      await handOver("r", pod, { status: left(pod) });
      await startAgent();
      await ended("r", "Completed");
      expect(kubelet.calls).toHaveLength(1);
    });

    it("after the dump: its archive is adopted, though the pod is gone", async () => {
      const pod = await runningPod("p");
      const request = await handOver("r", pod, { status: left(pod) });
      const foreign = await writeArchive(call(), { containerId: "f".repeat(64) });
      const archive = await writeArchive(call());
      await client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
      await startAgent();
      await ended("r", "Completed");
      expect(kubelet.calls).toHaveLength(0);
      const [checkpoint] = await allCheckpoints();
      expect(checkpoint?.spec.checkpointData).toBe(archive);
      expect(checkpoint?.status?.lineage).toEqual(source(pod).lineage);
      expect(checkpoint?.metadata.ownerReferences?.[0]?.uid).toBe(request.metadata.uid);
      expect((await readdir(archives)).sort()).toEqual([foreign, archive].sort());
    });

    it("an archive that a Checkpoint names already is not adopted", async () => {
      const pod = await runningPod("p");
      const archive = await writeArchive(call());
      await client.create(checkpoints, {
        metadata: { name: "other", namespace },
        spec: {
          checkpointData: archive,
          checkpointTimestamp: new Date().toISOString(),
          checkpointID: "other",
          containerName: "app",
          nodeName: node,
        },
      });
      await handOver("r", pod, { status: left(pod) });
      await startAgent();
      await ended("r", "Completed");
      expect(kubelet.calls).toHaveLength(1);
    });

    it("between the Checkpoint and its status: it is completed from the archive", async () => {
      const pod = await runningPod("p");
      const request = await handOver("r", pod, { status: left(pod) });
      const archive = await writeArchive(call());
      const name = `p-${namespace}-${slot}`;
      await client.create(checkpoints, {
        metadata: {
          name,
          namespace,
          finalizers: [ARCHIVE_FINALIZER, IMAGE_FINALIZER],
          ownerReferences: [
            {
              apiVersion: API_VERSION,
              kind: "CheckpointRequest",
              name: "r",
              uid: request.metadata.uid ?? "",
            },
          ],
        },
        spec: {
          checkpointData: archive,
          checkpointTimestamp: new Date().toISOString(),
          checkpointID: name,
          containerName: "app",
          nodeName: node,
        },
      });
      await startAgent();
      expect((await ended("r", "Completed")).status?.checkpoint?.name).toBe(name);
      expect(kubelet.calls).toHaveLength(0);
      expect((await checkpointNow(name)).status).toMatchObject({
        lineage: source(pod).lineage,
        frozenMicroseconds: 120_000,
      });
    });

    it("after the deadline: a late archive still becomes its Checkpoint", async () => {
      const pod = await runningPod("p");
      await writeArchive(call());
      await handOver("r", pod, { status: { ...left(pod), phase: "Failed", reason: "DeadlineExceeded" } });
      await startAgent();
      await waitFor("the Checkpoint", async () => (await requestNow("r")).status?.checkpoint);
      expect(kubelet.calls).toHaveLength(0);
    });

    it("after the deadline, with nothing left behind: the request is failed", async () => {
      const pod = await runningPod("p");
      const acceptedTime = new Date(Date.now() - 3600_000).toISOString();
      await handOver("r", pod, { status: { ...left(pod), acceptedTime } });
      await startAgent();
      expect((await ended("r", "Failed")).status?.reason).toBe("DeadlineExceeded");
      expect(kubelet.calls).toHaveLength(0);
    });
  });

  describe("left on a node that nobody waited for, request and Checkpoint gone,", () => {
    beforeEach(withoutRegistry);
    /** As the operator lets go of them for a silent node, or the namespace's end does. */
    async function goes(checkpoint: Checkpoint, request: CheckpointRequest): Promise<void> {
      const metadata = { finalizers: [] };
      await client.patch(checkpoints, checkpoint.metadata, { type: "merge", body: { metadata } });
      await client.delete(checkpoints, checkpoint.metadata);
      await client.delete(requests, request.metadata);
    }
    const begun = () => readdir(join(directory, "kcr", "begun"));

    it("an archive goes when the agent is back; those that somebody made by hand stay", async () => {
      const pod = await runningPod("p");
      const call = { namespace, pod: "p", container: "app" };
      const byHand = [await writeArchive(call)];
      const request = await handOver("r", pod);
      await startAgent();
      await ended("r", "Completed");
      const [checkpoint] = await allCheckpoints();
      expect(await begun()).toEqual([`${request.metadata.uid}.json`]);
      await stopAgent();
      byHand.push(await writeArchive(call));
      await startAgent();
      expect((await readdir(archives)).sort()).toEqual([...byHand, checkpoint!.spec.checkpointData].sort());
      await stopAgent();
      await goes(checkpoint!, request);

      await startAgent();
      await waitFor("the archive to go", async () => (await begun()).length === 0);
      expect((await readdir(archives)).sort()).toEqual(byHand.sort());
    });

    it("whatever a dump has written that was cut in the middle goes", async () => {
      const pod = await runningPod("p");
      const request = await handOver("r", pod);
      await client.delete(requests, request.metadata);
      const startTime = new Date(Date.now() - 60_000).toISOString();
      const lineage = { podUID: pod.metadata.uid ?? "", containerID: idOf("p", "app"), restartCount: 0 };
      const target = { namespace, pod: "p", container: "app" };
      await noteBegun(new Layout(join(directory, "kcr")), {
        request: { namespace, name: "r", uid: request.metadata.uid ?? "" },
        target,
        source: { lineage, defaultContainer: "app" },
        startTime,
      });
      const foreign = await writeArchive(target, { containerId: "f".repeat(64) });
      await writeArchive(target);
      const half = await writeArchive(target);
      await writeFile(join(archives, half), "half");
      const quiet = new Date(Date.now() - 10_000);
      await utimes(join(archives, half), quiet, quiet);

      await startAgent();
      await waitFor("all of it to go", async () => (await begun()).length === 0);
      expect(await readdir(archives)).toEqual([foreign]);
    });
  });

  describe("images", () => {
    const registryClient = () => new RegistryClient({ address: registry.address, plainHttp: true });

    async function captured(): Promise<Checkpoint> {
      await handOver("r", await runningPod("p"));
      return await checkpointNow((await ended("r", "Completed")).status?.checkpoint?.name ?? "");
    }

    it("an archive becomes an image by digest, and goes when that is verified", async () => {
      await startAgent();
      const { metadata, spec } = await captured();
      const checkpoint = await built(metadata.name);
      const { status } = checkpoint;
      const repository = `kcr/${namespace}/checkpoint-p-app`;
      expect(status?.runtimeImage).toBe(`registry.example:5000/${repository}@${status?.imageDigest}`);
      expect(isGood(checkpoint)).toBe(true);
      expect(findCondition(status?.conditions, "ImagePushed")?.status).toBe("True");
      expect(status?.copies).toMatchObject([{ kind: "Registry", image: status?.runtimeImage }]);
      expect(checkpoint.metadata.finalizers).toEqual([IMAGE_FINALIZER]);
      expect(await readdir(archives)).toEqual([]);
      expect(spec.checkpointData).toMatch(/^checkpoint-p_/);
      await using there = registryClient();
      const manifest = await verifyImage(there, repository, status?.imageDigest as Digest);
      expect(manifest.annotations).toMatchObject({
        "org.criu.checkpoint.container.name": "app",
        "io.kubernetes.cri-o.annotations.checkpoint.name": "app",
      });
      expect(manifest.layers).toMatchObject([{ digest: status?.digest, size: status?.sizeBytes }]);
    });

    it("while the registry is down the archive is kept and the reason told; then it is pushed", async () => {
      await registry.kill();
      try {
        await startAgent();
        const { metadata, spec } = await captured();
        const waiting = await waitFor("the reason", async () => {
          const checkpoint = await checkpointNow(metadata.name);
          const condition = findCondition(checkpoint.status?.conditions, "ImagePushed");
          return condition && { checkpoint, condition };
        });
        expect(waiting.condition).toMatchObject({ status: "False", reason: "RegistryUnreachable" });
        expect(isGood(waiting.checkpoint)).toBe(false);
        expect(await readdir(archives)).toEqual([spec.checkpointData]);
        await registry.start();
        expect(isGood(await built(metadata.name))).toBe(true);
        expect(await readdir(archives)).toEqual([]);
      } finally {
        await registry.kill();
        await registry.start();
      }
    });

    it.each<[string, (file: string) => Promise<void>, string]>([
      ["is cut short", (file) => writeFile(file, Buffer.alloc(700)), "ArchiveInvalid"],
      ["is gone", (file) => rm(file), "ArchiveMissing"],
    ])("an archive that %s: the Checkpoint is no good", async (_, harm, code) => {
      push = "127.0.0.1:1";
      await startAgent();
      const { metadata, spec } = await captured();
      await stopAgent();
      await harm(join(archives, spec.checkpointData));
      push = registry.address;
      await startAgent();
      const failed = await waitFor("the Checkpoint to fail", async () => {
        const checkpoint = await checkpointNow(metadata.name);
        return checkpoint.status?.phase === "Failed" && checkpoint;
      });
      expect(findCondition(failed.status?.conditions, "Restorable")).toMatchObject({
        status: "False",
        reason: code,
      });
      expect(failed.status?.failedReason).toBeTruthy();
    });

    it("an archive stays when its image is not in the registry after all, and is pushed again", async () => {
      push = "127.0.0.1:1";
      await startAgent();
      const { metadata } = await captured();
      await stopAgent();
      const claimed = await checkpointNow(metadata.name);
      await writeStatus(client, checkpoints, claimed, {
        phase: "ImageBuilt",
        imageDigest: `sha256:${"e".repeat(64)}`,
      });
      push = registry.address;
      await startAgent();
      const checkpoint = await waitFor("the image to be pushed", async () => {
        const now = await built(metadata.name);
        return !now.status?.imageDigest?.endsWith("eee") && now;
      });
      await using there = registryClient();
      await verifyImage(
        there,
        checkpoint.status?.checkpointImage ?? "",
        checkpoint.status?.imageDigest as Digest,
      );
    });

    it.each([
      ["another tenant's archive", "checkpoint-p_bank-app-2026-01-01T12:00:00Z.tar"],
      ["another tenant's damaged archive", "checkpoint-damaged_bank-app-2026-01-01T12:00:00Z.tar"],
      ["no archive", "notes.txt"],
    ])("a Checkpoint that names %s gets neither its bytes nor them removed", async (_, file) => {
      const path = join(archives, file);
      if (file.startsWith("checkpoint-p"))
        await writeCheckpoint(path, { podNamespace: "bank", containerName: "app" });
      else await writeFile(path, "not ours");
      const thief = await client.create(checkpoints, {
        metadata: { name: "thief", namespace, finalizers: [ARCHIVE_FINALIZER] },
        spec: {
          checkpointData: file,
          checkpointTimestamp: new Date().toISOString(),
          checkpointID: "thief",
          containerName: "app",
          nodeName: node,
        },
      });
      await writeStatus(client, checkpoints, thief, {
        phase: "Created",
        checkpointImage: `kcr/${namespace}/checkpoint-thief-app`,
      });
      await startAgent();
      const failed = await waitFor("the Checkpoint to fail", async () => {
        const { status } = await checkpointNow("thief");
        return status?.phase === "Failed" && status;
      });
      expect(findCondition(failed.conditions, "ImagePushed")?.reason).toBe("ArchiveInvalid");
      await client.delete(checkpoints, thief.metadata);
      await waitFor("the Checkpoint to go", () => checkpointNow("thief").then(() => false, isNotFound));
      expect(await readdir(archives)).toEqual([file]);
    });

    it("deleted after its push: the archive is gone already, the manifest is the operator's", async () => {
      await startAgent();
      const { metadata } = await captured();
      await built(metadata.name);
      await client.delete(checkpoints, metadata);
      expect((await checkpointNow(metadata.name)).metadata.finalizers).toEqual([IMAGE_FINALIZER]);
    });

    describe("at a registry that", () => {
      let relay: RegistryRelay;
      beforeEach(async () => {
        relay = await startRegistryRelay(registry);
        push = relay.address;
      });
      afterEach(() => relay[Symbol.asyncDispose]());

      /** How long it is slow, in seconds: FAULT_MINUTES=10 for what is too long for every day. */
      const SLOW_SECONDS = 60 * Number(process.env["FAULT_MINUTES"] ?? 0.15);
      const SLOW_BYTES = 4_000_000 + SLOW_SECONDS * 100_000;

      it.each<[string, (request: IncomingMessage) => boolean, "before" | "after"]>([
        ["while it is being pushed", ({ method }) => method === "PUT", "after"],
        ["before the archive is let go", ({ method }) => method === "GET", "before"],
      ])("takes a manifest and loses it %s: that is seen, and it is pushed again", async (_, isIt, when) => {
        await using there = registryClient();
        const repository = `kcr/${namespace}/checkpoint-p-app`;
        let lost = 0;
        let pushed = false;
        relay[when] = async (request) => {
          if (lost > 0 || !request.url?.includes("/manifests/") || !isIt(request)) return;
          // The first reading is the push's own.
          if (when === "before" && !pushed) {
            pushed = true;
            return;
          }
          const [tag = ""] = await there.listTags(repository);
          const { digest } = (await there.headManifest(repository, tag))!;
          expect(await there.deleteManifest(repository, digest)).toBe(true);
          expect(await readdir(archives)).toHaveLength(1);
          lost += 1;
        };
        await startAgent();
        const { metadata } = await captured();
        const { status } = await built(metadata.name);
        expect(lost).toBe(1);
        expect(relay.answered.filter((one) => /^PUT .*manifests/.test(one))).toHaveLength(2);
        await verifyImage(there, repository, status?.imageDigest as Digest);
        expect(await readdir(archives)).toEqual([]);
      });

      it("takes long: nothing is sent twice, others are dumped and deleted meanwhile, memory stays", {
        timeout: 60_000 + SLOW_SECONDS * 2000,
      }, async () => {
        answer = async (call) => found(await writeArchive(call, { pages: hole(SLOW_BYTES) }));
        relay.bytesPerSecond = SLOW_BYTES / SLOW_SECONDS;
        await startAgent();
        const names = ["p", "q", "r"];
        const taken: string[] = [];
        for (const [i, name] of names.entries()) {
          await handOver(name, await runningPod(name), { at: slot + i });
          taken.push((await ended(name, "Completed")).status?.checkpoint?.name ?? "");
        }
        await waitFor("two of them to be on their way", () => relay.uploading === 2);
        const before = process.memoryUsage().rss;
        // Neither one that is on its way nor one that waits for that waits with its end.
        for (const name of [taken[0]!, taken[2]!]) {
          const began = Date.now();
          await client.delete(checkpoints, { namespace, name });
          await waitFor("it to be let go", async () => {
            const { finalizers = [] } = (await checkpointNow(name)).metadata;
            return !finalizers.includes(ARCHIVE_FINALIZER);
          });
          expect(Date.now() - began).toBeLessThan(5_000);
        }
        let most = 0;
        const checkpoint = await waitFor(
          "the other to be built",
          async () => {
            most = Math.max(most, process.memoryUsage().rss);
            const now = await checkpointNow(taken[1]!);
            return now.status?.phase === "ImageBuilt" && now;
          },
          { timeoutMs: 30_000 + SLOW_SECONDS * 2000 },
        );
        expect(findCondition(checkpoint.status?.conditions, "ImagePushed")?.status).toBe("True");
        expect(most - before).toBeLessThan(64_000_000);
        const patches = relay.answered.filter(
          (one) => one.startsWith("PATCH") && one.includes("checkpoint-q-app"),
        );
        // Archive and config.
        expect(patches).toHaveLength(2);
      });

      it("takes long, for a Checkpoint that nobody waited for: its image is taken back", async () => {
        await using there = registryClient();
        const repository = `kcr/${namespace}/checkpoint-p-app`;
        let digest: Digest | undefined;
        relay.after = async ({ method, url = "" }) => {
          if (method !== "PUT" || !url.includes("/manifests/")) return;
          relay.after = async () => {};
          const [made] = (await client.list(checkpoints, { namespace })).items;
          const name = made?.metadata.name ?? "";
          digest = (await there.headManifest(repository, imageTag(name)))?.digest;
          const body = { metadata: { finalizers: [] } };
          await client.patch(checkpoints, { namespace, name }, { type: "merge", body });
          await client.delete(checkpoints, { namespace, name });
        };
        await startAgent();
        await handOver("r", await runningPod("p"));
        await waitFor("the image to be taken back", async () => {
          return digest !== undefined && (await there.headManifest(repository, digest)) === undefined;
        });
      });
    });

    describe("at a registry that takes an upload and does not answer", () => {
      let silentRegistry: Server;
      let uploading: Promise<void>;
      beforeEach(async () => {
        const begun = Promise.withResolvers<void>();
        uploading = begun.promise;
        silentRegistry = createServer((request, response) => {
          if (request.method === "POST") response.writeHead(202, { location: "/upload" }).end();
          else if (request.method === "PATCH") begun.resolve();
          else response.writeHead(404).end();
        });
        await new Promise<void>((resolve) => silentRegistry.listen(0, "127.0.0.1", resolve));
        push = `127.0.0.1:${(silentRegistry.address() as AddressInfo).port}`;
      });
      afterEach(() => {
        silentRegistry.closeAllConnections();
        silentRegistry.close();
      });

      it("a deletion ends the push, and the archive goes before the finalizer", async () => {
        await startAgent();
        const { metadata } = await captured();
        await uploading;
        await client.delete(checkpoints, metadata);
        await waitFor("the archive's finalizer to go", async () => {
          const { finalizers } = (await checkpointNow(metadata.name)).metadata;
          return finalizers?.length === 1 && finalizers[0] === IMAGE_FINALIZER;
        });
        expect(await readdir(archives)).toEqual([]);
        await client.patch(checkpoints, metadata, { type: "merge", body: { metadata: { finalizers: [] } } });
        await expect(checkpointNow(metadata.name)).rejects.toSatisfy(isNotFound);
      });

      it("an agent killed in the middle of the push: the next one pushes it all", async () => {
        await startAgent();
        const { metadata } = await captured();
        await uploading;
        await stopAgent();
        expect((await checkpointNow(metadata.name)).status?.phase).toBe("Processing");
        expect(await readdir(archives)).toHaveLength(1);
        push = registry.address;
        await startAgent();
        const checkpoint = await built(metadata.name);
        await using there = registryClient();
        await verifyImage(
          there,
          checkpoint.status?.checkpointImage ?? "",
          checkpoint.status?.imageDigest as Digest,
        );
      });
    });
  });
});
