import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { createAuthority } from "../../../cluster/pki.ts";
import { findCondition } from "../../../src/api/conditions.ts";
import { schedules } from "../../../src/api/kinds.ts";
import { secrets } from "../../../src/kube/resources.ts";
import { absent } from "../../../src/kube/write.ts";
import { installKcr } from "../../support/install.ts";
import { waitFor } from "../../support/wait-for.ts";
import { counter, RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const SECRET = { namespace: "kcr-system", name: "kcr-registry" };

describe.skipIf(cluster === undefined)("a kubelet whose certificate another CA signed", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "kubelet");
    const file = "kubelet-ca.crt";
    await world.client.create(secrets, {
      apiVersion: "v1",
      kind: "Secret",
      metadata: SECRET,
      stringData: { [file]: createAuthority("another").cert },
    });
    // No self-test can pass: it takes a checkpoint too.
    const kubelet = { caFile: `/etc/kcr-registry/${file}` };
    await installKcr(world.cluster, { kubelet }, { handler: "offered" });
  });
  afterAll(async () => {
    await world.client.delete(secrets, SECRET).catch(absent);
    await installKcr(world.cluster);
    await world.leave();
  });

  it("is not believed: the request fails with advice, and pod and schedule say so", async () => {
    const { namespace } = world;
    const pod = await world.deploy({ name: "app", schedule: RARELY, containers: [counter(world)] });
    const schedule = await waitFor("the schedule", () =>
      world.client.get(schedules, { namespace, name: "app" }).catch(absent),
    );
    const { name, uid } = schedule.metadata;
    const { status } = await world.request("untrusted", {
      podReference: { name: pod.metadata.name },
      checkpointScheduleRef: { name, uid },
    });

    expect(status).toMatchObject({ phase: "Failed", reason: "KubeletCertUntrusted" });
    expect(status?.message).toContain("kubelet.caFile");
    const { note } = await world.event("KubeletCertUntrusted", pod.metadata.name);
    expect(note).toContain("kubelet.caFile");
    const told = await waitFor("the schedule's condition", async () => {
      const { status } = await world.client.get(schedules, { namespace, name });
      return findCondition(status?.conditions, "Succeeding");
    });
    expect(told).toMatchObject({ status: "False", reason: "KubeletCertUntrusted" });
  });
});
