import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { installCrds } from "../../test/support/crds.ts";
import { makeNamespace } from "../../test/support/namespace.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import type { Checkpoint } from "../api/checkpoint.ts";
import { findCondition } from "../api/conditions.ts";
import { API_VERSION } from "../api/group.ts";
import { checkpoints, isPoisoned, requests, schedules } from "../api/kinds.ts";
import { RECORD_ANNOTATION, SCHEDULE_ANNOTATION, SLOT_ANNOTATION } from "../api/labels.ts";
import { readRecords } from "../api/records.ts";
import { reportCondition } from "../api/reports.ts";
import type { RequestSpec } from "../api/request.ts";
import type { CheckpointSchedule } from "../api/schedule.ts";
import { settings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { isNotFound } from "../kube/errors.ts";
import { silent } from "../kube/log.ts";
import { controllerOf } from "../kube/owner.ts";
import { type Deployment, deployments, events, nodes, type Pod, pods } from "../kube/resources.ts";
import { createOperator } from "./operator.ts";

const kubeconfig = inject("kubeconfig");

/** The operator as it is, on a real API server; pods are objects only, for no kubelet runs here. */
describe.skipIf(kubeconfig === undefined)("the operator", () => {
  let client: Client;
  const stop = new AbortController();
  let running: Promise<void>;
  /** Minutes by which the operator's clock is ahead: slots fall due when the test says so. */
  let ahead = 0;

  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    await readyNode("worker-op");
    const operator = createOperator({
      client,
      namespace: await makeNamespace(client, "kcr-system"),
      identity: "test",
      settings: settings.parse({
        registry: { push: "127.0.0.1:1", plainHttp: true },
        // No agent ends what it was given here.
        limits: { perNode: 64 },
      }),
      log: silent,
      now: () => new Date(Date.now() + ahead * 60_000),
    });
    running = operator.run(stop.signal);
    running.catch(() => {});
    await waitFor("caches to be synced", () => operator.ready());
  });
  afterAll(async () => {
    stop.abort();
    await running;
  });

  async function readyNode(name: string): Promise<void> {
    const node = await client.create(nodes, { apiVersion: "v1", kind: "Node", metadata: { name } });
    await client.patch(
      nodes,
      node.metadata,
      { type: "strategic", body: { status: { conditions: [{ type: "Ready", status: "True" }] } } },
      { subresource: "status" },
    );
  }
  const deployment = (namespace: string, name: string, cron?: string): Promise<Deployment> =>
    client.create(deployments, {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name, namespace, annotations: cron === undefined ? {} : { [SCHEDULE_ANNOTATION]: cron } },
      spec: {
        selector: { matchLabels: { app: name.slice(0, 40) } },
        template: {
          metadata: { labels: { app: name.slice(0, 40) } },
          spec: { containers: [{ name: "app", image: "app:1" }] },
        },
      },
    } as Deployment);

  const runningPod = async (
    namespace: string,
    name: string,
    labels: Record<string, string>,
    nodeName = "worker-op",
  ): Promise<Pod> => {
    const containers = ["app", "side"].map((container) => ({ name: container, image: "app:1" }));
    const pod = await client.create(pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace, labels },
      spec: { nodeName, containers },
    } as Pod);
    const containerStatuses = containers.map((c) => ({
      ...c,
      containerID: `containerd://${name}-${c.name}`,
      imageID: "",
      ready: true,
      restartCount: 0,
      state: { running: { startedAt: new Date().toISOString() } },
    }));
    await client.patch(
      pods,
      pod.metadata,
      { type: "strategic", body: { status: { phase: "Running", containerStatuses } } },
      { subresource: "status" },
    );
    return pod;
  };
  const scheduleOf = (namespace: string, name: string) =>
    waitFor(`schedule ${namespace}/${name}`, () => client.get(schedules, { namespace, name }));
  const eventOf = (namespace: string, reason: string) =>
    waitFor(`Event ${reason}`, async () =>
      (await client.list(events, { namespace })).items.find((e) => e.reason === reason),
    );
  const request = (namespace: string, name: string, spec: RequestSpec) =>
    client.create(requests, {
      apiVersion: API_VERSION,
      kind: requests.kind,
      metadata: { name, namespace },
      spec,
    });

  it("makes an owned schedule of an annotated Deployment, and removes it with the annotation", async () => {
    const namespace = await makeNamespace(client, "owned");
    const made = await deployment(namespace, "web", "@yearly");
    const schedule = await scheduleOf(namespace, "web");
    expect(controllerOf(schedule)).toMatchObject({
      kind: "Deployment",
      uid: made.metadata.uid,
      blockOwnerDeletion: true,
    });
    expect(schedule.spec).toMatchObject({ schedule: "@yearly", selector: { matchLabels: { app: "web" } } });

    await client.patch(deployments, made.metadata, {
      type: "merge",
      body: { metadata: { annotations: { [SCHEDULE_ANNOTATION]: null } } },
    });
    await waitFor("the schedule to go", () =>
      client.get(schedules, { namespace, name: "web" }).then(() => false, isNotFound),
    );
  });

  it("notes what runs in a pod once it is protected, though nothing of the pod changes", async () => {
    const namespace = await makeNamespace(client, "noted");
    const pod = await runningPod(namespace, "web-1", { app: "web" });
    await deployment(namespace, "web", "@yearly");
    const records = await waitFor("the record", async () => {
      const seen = readRecords(await client.get(pods, pod.metadata));
      return seen["app"] && seen;
    });
    expect(records).toMatchObject({ app: { originalImage: "app:1", run: 0, containerID: "web-1-app" } });
    expect(records).not.toHaveProperty("side");
  });

  it("leaves records of an operator of a later version as they are, and says so on the pod", async () => {
    const namespace = await makeNamespace(client, "later");
    const pod = await runningPod(namespace, "web-1", { app: "web" });
    const later = JSON.stringify({ app: { version: 99, podUID: pod.metadata.uid, runs: [1] } });
    const body = { metadata: { annotations: { [RECORD_ANNOTATION]: later } } };
    await client.patch(pods, pod.metadata, { type: "merge", body });
    await deployment(namespace, "web", "@yearly");
    const told = await waitFor("the pod's condition", async () => {
      const { status } = await client.get(pods, pod.metadata);
      return status?.conditions?.find((c) => c.reason === "ProtocolUnknown");
    });
    expect(told).toMatchObject({ type: "kcr.io/Restored", status: "False" });
    expect(told.message).toContain("the record of container app of pod web-1 is of protocol 99");
    await request(namespace, "take", { podReference: { name: "web-1" }, containerName: "app" });
    await waitFor("the request to fail", async () => {
      const { status } = await client.get(requests, { namespace, name: "take" });
      return status?.phase === "Failed" && status.reason === "ProtocolUnknown";
    });
    const { annotations } = (await client.get(pods, pod.metadata)).metadata;
    expect(annotations?.[RECORD_ANNOTATION]).toBe(later);
  });

  it("keeps schedules of one name in two namespaces apart", async () => {
    const [a, b] = [await makeNamespace(client, "team"), await makeNamespace(client, "team")];
    const [first, second] = [await deployment(a, "web", "@yearly"), await deployment(b, "web", "@monthly")];
    expect(controllerOf(await scheduleOf(a, "web"))?.uid).toBe(first.metadata.uid);
    expect(controllerOf(await scheduleOf(b, "web"))?.uid).toBe(second.metadata.uid);
    expect((await scheduleOf(b, "web")).spec.schedule).toBe("@monthly");
  });

  it("never takes over a person's own schedule of the Deployment's name", async () => {
    const namespace = await makeNamespace(client, "taken");
    const own = await client.create(schedules, {
      apiVersion: API_VERSION,
      kind: schedules.kind,
      metadata: { name: "web", namespace },
      spec: { schedule: "@yearly", selector: { matchLabels: { mine: "yes" } } },
    });
    await deployment(namespace, "web", "@hourly");
    await eventOf(namespace, "ScheduleNameTaken");
    const after = await client.get(schedules, own.metadata);
    expect(after.spec).toEqual(own.spec);
    expect(after.metadata.ownerReferences).toBeUndefined();
  });

  it("says once that a cron expression is invalid, by Event and condition, and retries nothing", async () => {
    const namespace = await makeNamespace(client, "invalid");
    await deployment(namespace, "web", "99 99 99 99 99");
    const event = await eventOf(namespace, "InvalidSchedule");
    expect(event.regarding).toMatchObject({ kind: "Deployment", name: "web" });
    const schedule = await waitFor("the condition", async () => {
      const seen = await client.get(schedules, { namespace, name: "web" });
      return findCondition(seen.status?.conditions, "Ready") && seen;
    });
    expect(findCondition(schedule.status?.conditions, "Ready")).toMatchObject({
      status: "False",
      reason: "InvalidSchedule",
    });
    expect(schedule.status?.nextRunTime).toBeUndefined();
    await waitFor("the Deployment's condition", async () => {
      const { status } = await client.get(deployments, { namespace, name: "web" });
      return status?.conditions?.some((c) => c.type === "kcr.io/Protected" && c.reason === "InvalidSchedule");
    });
  });

  it("says that a selector matches nothing", async () => {
    const namespace = await makeNamespace(client, "nothing");
    await deployment(namespace, "web", "@yearly");
    await waitFor("the condition", async () => {
      const seen = await client.get(schedules, { namespace, name: "web" });
      return findCondition(seen.status?.conditions, "Ready")?.reason === "NoMatchingPods";
    });
  });

  it("makes one request per container at a due slot, also for a Deployment of 60 characters", async () => {
    const namespace = await makeNamespace(client, "long");
    const name = "w".repeat(60);
    await deployment(namespace, name, "0 * * * *");
    const schedule = await scheduleOf(namespace, name);
    await client.patch(schedules, schedule.metadata, {
      type: "merge",
      body: { spec: { containers: ["app", "side"] } },
    });
    await runningPod(namespace, `${name}-abc`, { app: name.slice(0, 40) });
    await waitFor("everything about the schedule to be said", async () => {
      const { conditions } = (await client.get(schedules, schedule.metadata)).status ?? {};
      return (
        findCondition(conditions, "Ready")?.reason === "Scheduled" && findCondition(conditions, "Strategy")
      );
    });
    // From here on nothing but the clock tells that it is due.
    ahead += 62;
    const made = await waitFor("two accepted requests", async () => {
      const { items } = await client.list(requests, { namespace });
      return items.length >= 2 && items.every((r) => r.status?.nodeName === "worker-op") && items;
    });
    expect(made.map((r) => r.spec.containerName).sort()).toEqual(["app", "side"]);
    for (const { metadata } of made) {
      expect(metadata.labels?.["schedule-name"]?.length).toBeLessThanOrEqual(63);
      expect(metadata.labels?.["app"]).toBe("checkpoint-restore");
      expect(controllerOf({ metadata })).toMatchObject({ kind: "CheckpointSchedule", name });
    }
    const lastRun = await waitFor(
      "the slot to be noted",
      async () => (await scheduleOf(namespace, name)).status?.lastRunTime,
    );
    expect(new Date(lastRun).getUTCSeconds()).toBe(0);
  });

  it("refuses a schedule that never fires and one of an unknown time zone, with the reason, until that is mended", async () => {
    const namespace = await makeNamespace(client, "refused");
    const create = (name: string, spec: Partial<CheckpointSchedule["spec"]>) =>
      client.create(schedules, {
        metadata: { name, namespace },
        spec: { schedule: "@yearly", selector: { matchLabels: { app: "web" } }, ...spec },
      });
    const ready = (name: string, reason: string) =>
      waitFor(`schedule ${name} to be ${reason}`, async () => {
        const { status } = await client.get(schedules, { namespace, name });
        const condition = findCondition(status?.conditions, "Ready");
        return condition?.reason === reason && { ...status, message: condition.message };
      });
    await runningPod(namespace, "web", { app: "web" });
    await create("never", { schedule: "0 0 30 2 *" });
    await create("nowhere", { timeZone: "Mars/Olympus" });
    const never = await ready("never", "InvalidSchedule");
    expect(never.message).toContain('"0 0 30 2 *" never fires');
    expect(never.nextRunTime).toBeUndefined();
    const nowhere = await ready("nowhere", "InvalidTimeZone");
    expect(nowhere.message).toContain('time zone "Mars/Olympus" is not known');
    const spec = { timeZone: "Europe/Berlin" };
    await client.patch(schedules, { namespace, name: "nowhere" }, { type: "merge", body: { spec } });
    expect((await ready("nowhere", "Scheduled")).nextRunTime).toMatch(/-12-31T23:0/);
  });

  it("catches up one of the slots missed while nobody looked, and none that is later than its deadline", async () => {
    const namespace = await makeNamespace(client, "missed");
    const hours = 3_600_000;
    // Two hours ago, so that no slot and no spread are near.
    const slot = new Date(Date.now() + ahead * 60_000 - 2 * hours);
    slot.setUTCSeconds(0, 0);
    const schedule = `${slot.getUTCMinutes()} ${slot.getUTCHours()} * * *`;
    const lastRunTime = new Date(slot.getTime() - 72 * hours).toISOString();
    const missed = async (name: string, more: object) => {
      await runningPod(namespace, name, { app: name });
      const { metadata } = await client.create(schedules, {
        metadata: { name, namespace },
        spec: { schedule, selector: { matchLabels: { app: name } }, ...more },
      });
      const body = { status: { lastRunTime } };
      await client.patch(schedules, metadata, { type: "merge", body }, { subresource: "status" });
      await waitFor(`the slot of ${name} to be decided`, async () => {
        const { status } = await client.get(schedules, metadata);
        return status?.lastRunTime === slot.toISOString();
      });
    };
    await missed("late", { startingDeadlineSeconds: 3600 });
    await missed("soon", { startingDeadlineSeconds: 3 * 3600 });
    const note = await eventOf(namespace, "SlotMissed");
    expect(note.regarding).toMatchObject({ name: "late" });
    const { items } = await client.list(requests, { namespace });
    expect(items.map((r) => [r.spec.podReference.name, r.metadata.annotations?.[SLOT_ANNOTATION]])).toEqual([
      ["soon", slot.toISOString()],
    ]);
  });

  it("writes into a Checkpoint what another node's agent tells of it on its pod, in the pod's namespace alone", async () => {
    const [namespace, other] = [await makeNamespace(client, "told"), await makeNamespace(client, "told")];
    const make = (namespace: string) =>
      client.create(checkpoints, {
        metadata: { name: "far", namespace },
        spec: {
          checkpointData: "checkpoint-far.tar",
          checkpointTimestamp: "2026-01-01T12:00:00Z",
          checkpointID: "far",
          containerName: "app",
          nodeName: "another",
        },
      });
    const [far, elsewhere] = [await make(namespace), await make(other)];
    const pod = await runningPod(namespace, "web", {});
    const time = "2026-01-01T12:30:00Z";
    const tell = ({ metadata }: Checkpoint, what: "restored" | "poisoned") =>
      reportCondition({ what, checkpointUID: metadata.uid ?? "", time, message: "it crashed" });
    const conditions = [tell(elsewhere, "poisoned"), tell(far, "restored"), tell(far, "poisoned")];
    const patch = { type: "strategic" as const, body: { status: { conditions } } };
    await client.patch(pods, pod.metadata, patch, { subresource: "status" });
    const { status } = await waitFor("the Checkpoint to be poisoned", async () => {
      const seen = await client.get(checkpoints, far.metadata);
      return isPoisoned(seen) && seen;
    });
    expect(status).toMatchObject({ restoredCount: 1, lastRestoredTime: time });
    expect(isPoisoned(await client.get(checkpoints, elsewhere.metadata))).toBe(false);
  });

  it("refuses another namespace's pod", async () => {
    const [mine, theirs] = [await makeNamespace(client, "mine"), await makeNamespace(client, "theirs")];
    await runningPod(theirs, "secret", {});
    await request(mine, "spy", { podReference: { name: "secret", namespace: theirs }, containerName: "app" });
    const seen = await waitFor("the refusal", async () => {
      const found = await client.get(requests, { namespace: mine, name: "spy" });
      return found.status?.phase === "Failed" && found;
    });
    expect(seen.status).toMatchObject({ reason: "PodInOtherNamespace" });
    expect(seen.status?.nodeName).toBeUndefined();
  });

  it("refuses a container that does not exist and takes the default one where none is named", async () => {
    const namespace = await makeNamespace(client, "which");
    await runningPod(namespace, "web", {});
    await request(namespace, "none", { podReference: { name: "web" }, containerName: "none" });
    await request(namespace, "default", { podReference: { name: "web" } });
    const of = (name: string, done: (status: object) => boolean) =>
      waitFor(`request ${name}`, async () => {
        const { status } = await client.get(requests, { namespace, name });
        return status !== undefined && done(status) && status;
      });
    expect(await of("none", (s) => "reason" in s)).toMatchObject({
      phase: "Failed",
      reason: "ContainerNotFound",
    });
    expect(await of("default", (s) => "nodeName" in s)).toMatchObject({
      phase: "Pending",
      containerName: "app",
    });
  });

  it("fails a request at once whose node is taken out of the cluster, for nobody ends it", async () => {
    const namespace = await makeNamespace(client, "lost");
    await readyNode("worker-lost");
    await runningPod(namespace, "web", {}, "worker-lost");
    await request(namespace, "lost", { podReference: { name: "web" } });
    const status = (is: (phase: string) => boolean) =>
      waitFor("the request", async () => {
        const { status } = await client.get(requests, { namespace, name: "lost" });
        return status?.nodeName !== undefined && is(status.phase ?? "") && status;
      });
    expect(await status(() => true)).toMatchObject({ phase: "Pending", nodeName: "worker-lost" });
    await client.delete(nodes, { name: "worker-lost" });
    expect(await status((phase) => phase !== "Pending")).toMatchObject({
      phase: "Failed",
      reason: "NodeLost",
    });
  });
});
