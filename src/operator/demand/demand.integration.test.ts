import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { installCrds } from "../../../test/support/crds.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { startRegistry, type TestRegistry } from "../../../test/support/registry.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { type Checkpoint, RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { findCondition, setCondition } from "../../api/conditions.ts";
import type { Facts } from "../../api/facts.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints, isTerminal, requests, restores, schedules } from "../../api/kinds.ts";
import { FACTS_ANNOTATION } from "../../api/labels.ts";
import { findContainer } from "../../api/pod.ts";
import { readRecords } from "../../api/records.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { ARMED, type CheckpointRestore, RESTORED, type RestoreSpec } from "../../api/restore.ts";
import { type Settings, settings } from "../../api/settings.ts";
import { specHash } from "../../api/spec-hash.ts";
import { Client } from "../../kube/client.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { silent } from "../../kube/log.ts";
import { events, nodes, type Pod, pods, type RuntimeClass, runtimeClasses } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { pushCheckpointImage } from "../../oci/checkpoint-image.ts";
import { RegistryClient } from "../../oci/registry.ts";
import { bytesSource } from "../../oci/source.ts";
import { createOperator } from "../operator.ts";
import { PROBE_LABEL } from "../restore/pull-probe.ts";

const kubeconfig = inject("kubeconfig");
const NODE = "worker-demand";
const IMAGE = "reg:5000/app:1";
const DIGEST = `sha256:${"d".repeat(64)}`;

/** The operator on a real API server; kubelet, agent and handler are played by hand, for no node runs here. */
describe.skipIf(kubeconfig === undefined)("restores that are asked for", () => {
  let client: Client;
  let registry: TestRegistry;
  let config: Settings;
  let kcrNamespace: string;
  let end: (() => Promise<void>) | undefined;

  /** Another replica in place of the one that leads, if there is one: it knows what the API server says alone. */
  const lead = async (): Promise<void> => {
    await end?.();
    const stop = new AbortController();
    const operator = createOperator({
      client,
      namespace: kcrNamespace,
      identity: "test",
      settings: config,
      log: silent,
    });
    const running = operator.run(stop.signal);
    running.catch(() => {});
    end = async () => {
      stop.abort();
      await running;
    };
    await waitFor("caches to be synced", () => operator.ready());
  };

  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    registry = await startRegistry();
    config = settings.parse({ registry: { push: registry.address, plainHttp: true } });
    await installCrds(client);
    kcrNamespace = await makeNamespace(client, "kcr-system");
    const node = await client.create(nodes, { apiVersion: "v1", kind: "Node", metadata: { name: NODE } });
    const containerRuntimeVersion = "containerd://2.3.1";
    await client.patch(
      nodes,
      node.metadata,
      {
        type: "strategic",
        body: {
          status: {
            conditions: [{ type: "Ready", status: "True" }],
            nodeInfo: { ...node.status?.nodeInfo, architecture: "amd64", containerRuntimeVersion },
          },
        },
      },
      { subresource: "status" },
    );
    const runtimeClass = { metadata: { name: RUNTIME_HANDLER }, handler: RUNTIME_HANDLER } as RuntimeClass;
    await client.create(runtimeClasses, runtimeClass).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
    await lead();
  });
  afterAll(async () => {
    await end?.();
    await registry?.stop();
    client?.close();
  });

  /** A run of the container, as the kubelet reports it. */
  const run = async (pod: Pod, id: string, restartCount: number, imageID = `reg:5000/app@${DIGEST}`) => {
    const status = {
      name: "app",
      image: IMAGE,
      imageID,
      ready: true,
      restartCount,
      containerID: `containerd://${id}`,
      state: { running: { startedAt: new Date().toISOString() } },
    };
    const body = { status: { phase: "Running", observedGeneration: 1000, containerStatuses: [status] } };
    await client.patch(pods, pod.metadata, { type: "strategic", body }, { subresource: "status" });
  };
  const runningPod = async (namespace: string, runtimeClassName?: string): Promise<Pod> => {
    const pod = await client.create(pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "web", namespace, labels: { app: "web" } },
      spec: { nodeName: NODE, runtimeClassName, containers: [{ name: "app", image: IMAGE }] },
    } as Pod);
    await run(pod, "c0", 0);
    return pod;
  };
  const imageOf = async (pod: Pod): Promise<string | undefined> =>
    findContainer(await client.get(pods, pod.metadata), "app")?.image;

  /** A good Checkpoint of the pod's container, as an agent leaves it. */
  const taken = async (pod: Pod, name: string, more: Checkpoint["status"] = {}): Promise<Checkpoint> => {
    const { namespace = "", uid = "" } = pod.metadata;
    const time = new Date(Date.now() - 60_000).toISOString();
    const made = await client.create(checkpoints, {
      apiVersion: API_VERSION,
      kind: checkpoints.kind,
      metadata: { name, namespace },
      spec: {
        checkpointData: "checkpoint.tar",
        checkpointTimestamp: time,
        checkpointID: name,
        containerName: "app",
        nodeName: NODE,
      },
    });
    const container = findContainer(await client.get(pods, pod.metadata), "app");
    return await writeStatus(client, checkpoints, made, {
      phase: "ImageBuilt",
      checkpointImage: `kcr/${namespace}/checkpoint-web-app`,
      imageDigest: `sha256:${Buffer.from(name).toString("hex").padEnd(64, "0")}`,
      baseImage: IMAGE,
      baseImageDigest: `reg:5000/app@${DIGEST}`,
      specHash: container && specHash(container, IMAGE),
      lineage: { podUID: uid, containerID: "c0", restartCount: 0 },
      conditions: [
        { type: "Restorable", status: "True", reason: "x", message: "", lastTransitionTime: time },
      ],
      ...more,
    });
  };

  /** The digest of an image that is in the registry: what is not there is not restored from. */
  const pushed = async (repository: string): Promise<string> => {
    const to = new RegistryClient({ address: registry.address, plainHttp: true });
    try {
      const archive = bytesSource(Buffer.from("an archive"));
      const image = { config: { architecture: "amd64" }, annotations: {} };
      return (await pushCheckpointImage({ client: to, repository, tag: "old", archive, ...image })).digest;
    } finally {
      await to.close();
    }
  };

  const ask = (namespace: string, name: string, spec: Partial<RestoreSpec> = {}) =>
    client.create(restores, {
      apiVersion: API_VERSION,
      kind: restores.kind,
      metadata: { name, namespace },
      spec: { checkpointName: "old", podReference: { name: "web" }, ...spec },
    });
  const seen = (
    { metadata }: CheckpointRestore,
    what: string,
    is: (status: NonNullable<CheckpointRestore["status"]>) => unknown,
  ): Promise<CheckpointRestore> =>
    waitFor(`CheckpointRestore ${metadata.name}: ${what}`, async () => {
      const now = await client.get(restores, metadata);
      return now.status !== undefined && is(now.status) ? now : undefined;
    });
  const reached = (restore: CheckpointRestore, phase: string) =>
    seen(restore, phase, (status) => status.phase === phase);

  /** What the agent says. */
  const say = async (
    restore: CheckpointRestore,
    type: string,
    yes: boolean,
    reason: string,
    message = "",
  ) => {
    const now = await client.get(restores, restore.metadata);
    const status = yes ? ("True" as const) : ("False" as const);
    const conditions = setCondition(now.status?.conditions, { type, status, reason, message }, new Date());
    await writeStatus(client, restores, now, { conditions });
  };
  /** The agent takes the checkpoint that is asked for. */
  const save = async (pod: Pod, restore: CheckpointRestore, name: string): Promise<CheckpointRequest> => {
    const { namespace } = pod.metadata;
    const request = await waitFor("the request to be accepted", async () => {
      const { items } = await client.list(requests, { namespace });
      return items.find(
        (r) => r.metadata.name.startsWith(restore.metadata.name) && r.status?.nodeName === NODE,
      );
    });
    await taken(pod, name);
    await writeStatus(client, requests, request, { phase: "Completed", checkpoint: { name } });
    return request;
  };
  const eventOf = (namespace: string, reason: string, kind: string) =>
    waitFor(`Event ${reason} of a ${kind}`, async () =>
      (await client.list(events, { namespace })).items.find(
        (e) => e.reason === reason && e.regarding?.kind === kind,
      ),
    );

  it("into a node that it does not fit fails before anything is saved or stopped", async () => {
    const namespace = await makeNamespace(client, "misfit");
    const pod = await runningPod(namespace, RUNTIME_HANDLER);
    const facts: Facts = { architecture: "amd64", cpuFeatures: "avx sse2" };
    const annotate = (text: string | null) =>
      client.patch(
        nodes,
        { name: NODE },
        {
          type: "merge",
          body: { metadata: { annotations: { [FACTS_ANNOTATION]: text } } },
        },
      );
    await annotate(JSON.stringify(facts));
    try {
      const old = await taken(pod, "old", {
        environment: { ...facts, cpuFeatures: "avx avx512f sse2" },
      });
      const before = await client.get(pods, pod.metadata);
      const refused = await reached(await ask(namespace, "back"), "Failed");
      expect(refused.status).toMatchObject({
        reason: "NodeDiffers",
        message: expect.stringContaining("avx512f at the checkpoint, none of these on the node"),
      });
      expect(refused.status?.savedCheckpoint).toBeUndefined();
      expect((await client.list(requests, { namespace })).items).toEqual([]);
      expect(await client.get(pods, pod.metadata)).toEqual(before);
      expect((await client.get(checkpoints, old.metadata)).metadata.resourceVersion).toBe(
        old.metadata.resourceVersion,
      );
      await eventOf(namespace, "NodeDiffers", "Pod");

      // Of the same node it is: and what is not known of both is told.
      await writeStatus(client, checkpoints, await client.get(checkpoints, old.metadata), {
        environment: facts,
      });
      const again = await ask(namespace, "again", { discardCurrent: true });
      await reached(again, "Restoring");
      expect((await eventOf(namespace, "Restoring", "CheckpointRestore"))?.note).toContain("not known of");
    } finally {
      await annotate(null);
    }
  });

  it("by the handler goes from save to arm to restart, whoever leads at each step", async () => {
    const namespace = await makeNamespace(client, "runtime");
    const pod = await runningPod(namespace, RUNTIME_HANDLER);
    await taken(pod, "old");
    const restore = await ask(namespace, "back");

    await reached(restore, "SavingCurrent");
    await lead();
    const request = await save(pod, restore, "saved");
    expect(request.spec).toMatchObject({ podReference: { name: "web" }, containerName: "app" });
    expect(request.metadata.ownerReferences).toBeUndefined();

    const begun = await reached(restore, "Restoring");
    expect(begun.status).toMatchObject({
      strategy: "Runtime",
      nodeName: NODE,
      podUID: pod.metadata.uid,
      containerName: "app",
      containerID: "c0",
      originalImage: IMAGE,
      savedCheckpoint: "saved",
    });
    await lead();
    expect(await imageOf(pod)).toBe(IMAGE);

    await say(restore, ARMED, true, "Planned");
    await waitFor("the image to be rewritten", async () => (await imageOf(pod)) !== IMAGE);
    expect(await imageOf(pod)).toBe(`${IMAGE}@${DIGEST}`);
    expect(readRecords(await client.get(pods, pod.metadata))).toEqual({});
    await lead();

    await run(pod, "c1", 1);
    await say(restore, RESTORED, true, "Restored");
    const done = await reached(restore, "Completed");
    expect(findCondition(done.status?.conditions, "Ready")).toMatchObject({ status: "True" });
    expect(done.status?.message).toContain("Checkpoint saved");
    expect(done.status?.completionTime).toBeDefined();
    expect(await imageOf(pod)).toBe(`${IMAGE}@${DIGEST}`);
    await eventOf(namespace, "Restored", "CheckpointRestore");
    await eventOf(namespace, "Restoring", "Pod");
  });

  it("by image goes through the container's record, and a later crash does not throw forward", async () => {
    const namespace = await makeNamespace(client, "image");
    const protection = await client.create(schedules, {
      apiVersion: API_VERSION,
      kind: schedules.kind,
      metadata: { name: "web", namespace },
      spec: { schedule: "@yearly", selector: { matchLabels: { app: "web" } } },
    });
    const pod = await runningPod(namespace);
    const record = async () => readRecords(await client.get(pods, pod.metadata))["app"];
    await waitFor("the run to be noted", record);
    const old = await taken(pod, "old", { imageDigest: await pushed(`kcr/${namespace}/checkpoint-web-app`) });
    const restore = await ask(namespace, "back");
    await save(pod, restore, "saved");
    await reached(restore, "Restoring");
    await waitFor("the pull probe", async () => {
      const { items } = await client.list(pods, { namespace: kcrNamespace, labelSelector: PROBE_LABEL });
      const waiting = { reason: "CreateContainerError" };
      const containerStatuses = [{ name: "probe", state: { waiting }, restartCount: 0 }];
      for (const { metadata } of items) {
        const body = { status: { containerStatuses } };
        await client.patch(pods, metadata, { type: "strategic", body }, { subresource: "status" });
      }
      return items.length > 0;
    });
    const image = `${registry.address}/${old.status?.checkpointImage}@${old.status?.imageDigest}`;
    await waitFor("the image to be the Checkpoint's", async () => (await imageOf(pod)) === image);

    await run(pod, "c1", 1);
    const done = await reached(restore, "Completed");
    expect(done.status).toMatchObject({ strategy: "Image", savedCheckpoint: "saved" });
    expect(await record()).toMatchObject({ originalImage: IMAGE, parent: "old", containerID: "c1" });
    await eventOf(namespace, "Restored", "Pod");

    await run(pod, "c2", 2);
    await waitFor("the crash to be settled", async () => (await record())?.containerID === "c2");
    expect(await record()).toMatchObject({ parent: "old" });
    expect(await imageOf(pod)).toBe(image);

    // Protected by nothing any more, a crash is an ordinary one.
    await client.delete(schedules, protection.metadata);
    await run(pod, "c3", 3);
    await waitFor("the original image", async () => (await imageOf(pod)) === IMAGE);
  });

  it("of one pod go one after the other", async () => {
    const namespace = await makeNamespace(client, "two");
    const pod = await runningPod(namespace, RUNTIME_HANDLER);
    await taken(pod, "old");
    const first = await ask(namespace, "first", { discardCurrent: true });
    await reached(first, "Restoring");
    const second = await ask(namespace, "a-second", { discardCurrent: true });
    const waits = await seen(second, "to wait", (status) => status.reason === "RestoreInProgress");
    expect(waits.status?.message).toContain("first");
    await say(first, ARMED, false, "CopyMissing", "no copy");
    const failed = await reached(first, "Failed");
    expect(failed.status).toMatchObject({ reason: "CopyMissing" });
    const begun = await reached(second, "Restoring");
    expect(begun.status?.reason).toBeUndefined();
    expect(await imageOf(pod)).toBe(IMAGE);
  });

  it("of a container that runs another image are refused, and say so where people look", async () => {
    const namespace = await makeNamespace(client, "differs");
    const pod = await runningPod(namespace, RUNTIME_HANDLER);
    await taken(pod, "old", { baseImageDigest: `reg:5000/app@sha256:${"e".repeat(64)}` });
    const restore = await ask(namespace, "back");
    const failed = await seen(restore, "the end", (status) => isTerminal({ ...restore, status }));
    expect(failed.status).toMatchObject({ phase: "Failed", reason: "ImageDiffers" });
    expect(findCondition(failed.status?.conditions, "Ready")).toMatchObject({ status: "False" });
    await eventOf(namespace, "ImageDiffers", "CheckpointRestore");
    await eventOf(namespace, "ImageDiffers", "Pod");
    expect((await client.list(requests, { namespace })).items).toEqual([]);
  });

  it("whose saving fails leave the container as it is", async () => {
    const namespace = await makeNamespace(client, "unsaved");
    const pod = await runningPod(namespace, RUNTIME_HANDLER);
    await taken(pod, "old");
    const restore = await ask(namespace, "back");
    const request = await waitFor("the request", async () => {
      const [made] = (await client.list(requests, { namespace })).items;
      return made?.status?.nodeName === NODE && made;
    });
    await writeStatus(client, requests, request, {
      phase: "Failed",
      reason: "CheckpointFailed",
      message: "no",
    });
    const failed = await reached(restore, "Failed");
    expect(failed.status).toMatchObject({ reason: "SaveFailed" });
    expect(failed.status?.message).toContain("CheckpointFailed");
    expect(await imageOf(pod)).toBe(IMAGE);
  });
});
