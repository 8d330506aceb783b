import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { checkpoints, requests, schedules } from "../../../src/api/kinds.ts";
import { leases, type Pod, pods } from "../../../src/kube/resources.ts";
import { absent, writeStatus } from "../../../src/kube/write.ts";
import { Installation } from "../../support/installation.ts";
import { waitFor } from "../../support/wait-for.ts";
import { counter, RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("an operator", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "leader");
    kcr = new Installation(world);
    await kcr.whole();
  });
  afterAll(async () => {
    await kcr.whole();
    await world.leave();
  });

  const remove = (pod: Pod, options = {}) => world.client.delete(pods, pod.metadata, options);
  const killed = async (pod: Pod) => {
    await kcr.signal(pod, "SIGKILL");
    await remove(pod, { gracePeriodSeconds: 0 });
  };

  it.each<[how: string, end: (pod: Pod) => Promise<unknown>, limitMs: number]>([
    // Within its grace period it gives its lease back: nobody has to wait for the end of it.
    ["deleted", remove, 10_000],
    // Its lease of 15 s runs out then, and the other one looks every two seconds.
    ["killed", killed, 25_000],
  ])("that is %s while it leads: the other one acts in time", async (how, end, limitMs) => {
    const pod = await world.deploy({ name: how, containers: [counter(world)] });
    const leader = await kcr.leader();
    const ended = Date.now();
    await end(leader);
    await world.ask(how, { podReference: { name: pod.metadata.name } });
    expect((await world.ended(how)).status?.phase).toBe("Completed");
    const next = await waitFor("another leader", async () => {
      const now = await kcr.leader();
      return now.metadata.uid !== leader.metadata.uid && now;
    });
    const { spec } = await world.client.get(leases, { namespace: kcr.namespace, name: "kcr-operator" });
    expect(spec?.holderIdentity).toContain(next.metadata.name);
    expect(Date.parse(`${spec?.acquireTime}`) - ended).toBeLessThan(limitMs);
    await kcr.whole();
  });

  it("that is killed before it wrote down that a slot was decided: the slot is captured once", async () => {
    const pod = await world.deploy({ name: "slot", schedule: RARELY, containers: [counter(world)] });
    const { namespace } = world;
    const get = () => world.client.get(schedules, { namespace, name: "slot" }).catch(absent);
    const schedule = await waitFor("the schedule", get);
    const longAgo = "2001-01-01T00:00:00.000Z";
    const forget = () => writeStatus(world.client, schedules, { metadata: named }, { lastRunTime: longAgo });
    const { resourceVersion: _, ...named } = schedule.metadata;
    const decided = () =>
      waitFor("the slot to be decided", async () => {
        const { lastRunTime } = (await get())?.status ?? {};
        return lastRunTime !== undefined && lastRunTime !== longAgo && lastRunTime;
      });
    const ofPod = async () => {
      const { items } = await world.client.list(requests, { namespace });
      return items.filter(({ spec }) => spec.podReference.name === pod.metadata.name);
    };
    await forget();
    const slot = await decided();
    const [captured] = await ofPod();
    expect((await world.ended(captured!.metadata.name)).status?.phase).toBe("Completed");

    await kcr.signal(await kcr.leader(), "SIGKILL");
    await forget();
    expect(await decided()).toBe(slot);
    expect((await ofPod()).map(({ metadata }) => metadata.name)).toEqual([captured!.metadata.name]);
    const { items } = await world.client.list(checkpoints, {
      namespace,
      labelSelector: `pod=${pod.metadata.name}`,
    });
    expect(items).toHaveLength(1);
  });

  /** Ends a pod's process as a shutdown does, and sees that it ends by itself. */
  async function terminate(pod: Pod): Promise<void> {
    const sent = Date.now();
    await kcr.signal(pod, "SIGTERM");
    const ended = await kcr.ended(pod);
    expect(ended.exitCode).toBe(0);
    const grace = (pod.spec?.terminationGracePeriodSeconds ?? 0) * 1000;
    expect(Date.parse(`${ended.finishedAt}`) - sent).toBeLessThan(Math.min(grace, 10_000));
    await kcr.whole();
  }

  it.each([
    ["leader", () => kcr.leader()],
    ["operator that waits", () => kcr.follower()],
    ["agent", () => kcr.agent(world.worker("2.3"))],
  ])("told to end (SIGTERM), %s, ends with exit code 0 within its grace period", async (_, choose) => {
    await terminate(await choose());
  });

  it("told to end while the registry keeps it waiting, a leader ends all the same", async () => {
    const pod = await world.deploy({ name: "waits", schedule: RARELY, containers: [counter(world)] });
    // With a checkpoint to protect it, the next leader asks at once whether its node can pull.
    await world.checkpoint(pod);
    await kcr.signalRegistry("STOP");
    try {
      await kcr.signal(await kcr.leader(), "SIGTERM");
      const asking = await waitFor("the next leader to ask the registry", async () => {
        const leader = await kcr.leader();
        return (await kcr.registryClients()).includes(leader.status?.podIP ?? "none") && leader;
      });
      await terminate(asking);
    } finally {
      await kcr.signalRegistry("CONT");
    }
  });
});
