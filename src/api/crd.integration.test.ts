import { beforeAll, describe, expect, inject, it } from "vitest";
import { installCrds } from "../../test/support/crds.ts";
import { makeNamespace } from "../../test/support/namespace.ts";
import { Client } from "../kube/client.ts";
import { isInvalid } from "../kube/errors.ts";
import type { KubeObject, Resource } from "../kube/resources.ts";
import { writeStatus } from "../kube/write.ts";
import { API_VERSION } from "./group.ts";
import { checkpoints, requests, restores, schedules } from "./kinds.ts";

const kubeconfig = inject("kubeconfig");

describe.skipIf(kubeconfig === undefined)("the API server", () => {
  let client: Client;
  let namespace: string;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    namespace = await makeNamespace(client, "crd");
  });

  let count = 0;
  const create = async (resource: Resource, spec: object): Promise<string> => {
    const object = {
      apiVersion: API_VERSION,
      kind: resource.kind,
      metadata: { name: `o${count++}`, namespace },
      spec,
    } as KubeObject;
    try {
      await client.create(resource, object);
      return "taken";
    } catch (error) {
      return isInvalid(error) ? "refused" : String(error);
    }
  };

  const checkpoint = {
    checkpointData: "checkpoint-web_shop-app-2026-01-01T00:00:00Z.tar",
    checkpointTimestamp: "2026-01-01T00:00:00Z",
    checkpointID: "web-shop-1",
    containerName: "app",
    nodeName: "worker-1",
  };
  it.each([
    ["as it is written", {}, "taken"],
    ["with a path in checkpointData", { checkpointData: "../../etc/shadow" }, "refused"],
    ["with a directory in checkpointData", { checkpointData: "a/b.tar" }, "refused"],
    ["with .. in checkpointData", { checkpointData: "a..tar" }, "refused"],
    ["with a path in containerName", { containerName: "../exec" }, "refused"],
    ["with a path in nodeName", { nodeName: "a/b" }, "refused"],
    ["without an archive", { checkpointData: undefined }, "refused"],
  ])("takes or refuses a Checkpoint %s", async (_, more, expected) => {
    expect(await create(checkpoints, { ...checkpoint, ...more })).toBe(expected);
  });

  const request = { podReference: { name: "web", namespace: "shop" }, containerName: "app" };
  it.each([
    ["as it is written", {}, "taken"],
    ["with a path in the pod's name", { podReference: { name: "../web" } }, "refused"],
    ["with a path in the namespace", { podReference: { name: "web", namespace: "a/b" } }, "refused"],
    ["with a path in containerName", { containerName: "app/../../exec" }, "refused"],
    ["with a timeout of nothing", { timeoutSeconds: 0 }, "refused"],
  ])("takes or refuses a CheckpointRequest %s", async (_, more, expected) => {
    expect(await create(requests, { ...request, ...more })).toBe(expected);
  });

  const schedule = { schedule: "@hourly", selector: { matchLabels: { app: "web" } } };
  it.each([
    ["as it is written", {}, "taken"],
    ["with an empty selector", { selector: {} }, "refused"],
    ["with empty matchLabels", { selector: { matchLabels: {} } }, "refused"],
    [
      "with matchExpressions alone",
      { selector: { matchExpressions: [{ key: "a", operator: "Exists" }] } },
      "taken",
    ],
    ["with an unknown strategy", { restore: { strategy: "Magic" } }, "refused"],
    ["with no attempts", { restore: { maxAttempts: 0 } }, "refused"],
  ])("takes or refuses a CheckpointSchedule %s", async (_, more, expected) => {
    expect(await create(schedules, { ...schedule, ...more })).toBe(expected);
  });

  const restore = { checkpointName: "web-shop-1", podReference: { name: "web" } };
  it.each([
    ["as it is written", {}, "taken"],
    ["with all it may say", { containerName: "app", discardCurrent: true, timeoutSeconds: 60 }, "taken"],
    ["with a path for a Checkpoint", { checkpointName: "other/web-shop-1" }, "refused"],
    ["without a Checkpoint", { checkpointName: undefined }, "refused"],
    ["without a pod", { podReference: undefined }, "refused"],
    ["with a path in containerName", { containerName: "../app" }, "refused"],
    ["with no time at all", { timeoutSeconds: 0 }, "refused"],
  ])("takes or refuses a CheckpointRestore %s", async (_, more, expected) => {
    expect(await create(restores, { ...restore, ...more })).toBe(expected);
  });

  it.each([
    ["request", requests, request],
    ["CheckpointRestore", restores, restore],
  ] as [string, Resource, object][])(
    "does not let a %s change once it is made",
    async (_, resource, spec) => {
      const made = await client.create(resource, {
        apiVersion: API_VERSION,
        kind: resource.kind,
        metadata: { name: "fixed", namespace },
        spec,
      } as KubeObject);
      const change = { type: "merge" as const, body: { spec: { containerName: "other" } } };
      await expect(client.patch(resource, made.metadata, change)).rejects.toSatisfy(isInvalid);
    },
  );

  it("fills in what a CheckpointRestore leaves out, and narrows lists of them by node", async () => {
    const metadata = { name: "narrow", namespace };
    const object = { apiVersion: API_VERSION, kind: restores.kind, metadata, spec: restore };
    const made = await client.create(restores, object);
    expect(made.spec).toMatchObject({ discardCurrent: false, timeoutSeconds: 300 });
    const listed = async () => {
      const { items } = await client.list(restores, { namespace, fieldSelector: "status.nodeName=worker-9" });
      return items.map((r) => r.metadata.name);
    };
    expect(await listed()).toEqual([]);
    await writeStatus(client, restores, made, { phase: "Restoring", nodeName: "worker-9" });
    expect(await listed()).toEqual(["narrow"]);
  });

  it("narrows lists by node", async () => {
    const listed = await client.list(checkpoints, { namespace, fieldSelector: "spec.nodeName=worker-2" });
    expect(listed.items).toEqual([]);
    await create(checkpoints, { ...checkpoint, nodeName: "worker-2" });
    const after = await client.list(checkpoints, { namespace, fieldSelector: "spec.nodeName=worker-2" });
    expect(after.items).toHaveLength(1);
  });
});
