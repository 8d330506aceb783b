import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { findCondition } from "../../src/api/conditions.ts";
import { API_VERSION } from "../../src/api/group.ts";
import {
  checkpoints,
  clusterRetentions,
  requests,
  restores,
  retentions,
  schedules,
} from "../../src/api/kinds.ts";
import { PINNED_ANNOTATION } from "../../src/api/labels.ts";
import type { RetentionSpec } from "../../src/api/retention.ts";
import { settings } from "../../src/api/settings.ts";
import { showPlan } from "../../src/cli/retention/command.ts";
import { testIo } from "../../src/cli/testing/io.ts";
import { Client } from "../../src/kube/client.ts";
import { isInvalid } from "../../src/kube/errors.ts";
import { silent } from "../../src/kube/log.ts";
import { ownerReference } from "../../src/kube/owner.ts";
import { type KubeObject, type Pod, pods, type Resource } from "../../src/kube/resources.ts";
import { writeStatus } from "../../src/kube/write.ts";
import { createOperator } from "../../src/operator/operator.ts";
import { sketch } from "../../src/retention/testing.ts";
import { type FaultProxy, startFaultProxy } from "../faults/proxy.ts";
import { installCrds } from "../support/crds.ts";
import { makeNamespace } from "../support/namespace.ts";
import { waitFor } from "../support/wait-for.ts";

const kubeconfig = inject("kubeconfig");
/** How long the API server answers errors; ten minutes are for a person to ask for. */
const FAULT_MS = Number(process.env["RETENTION_FAULT_MINUTES"] ?? 0.15) * 60_000;

/** The operator, on a real API server behind a proxy that does harm; the Checkpoints have no bytes to wait for. */
describe.skipIf(kubeconfig === undefined)("what retention does on an API server", () => {
  let direct: Client;
  let proxy: FaultProxy;
  let through: Client;
  let directory: string;
  let running: Promise<void>;
  const stop = new AbortController();

  beforeAll(async () => {
    direct = Client.fromConfig({ kubeconfig });
    await installCrds(direct);
    proxy = await startFaultProxy(kubeconfig ?? "");
    directory = await mkdtemp(join(tmpdir(), "kcr-retention-"));
    await writeFile(join(directory, "kubeconfig"), proxy.kubeconfig);
    through = Client.fromConfig({ kubeconfig: join(directory, "kubeconfig") });
    const namespace = await makeNamespace(direct, "kcr-system");
    const own = settings.parse({ store: "node", retention: { defaults: {}, perMinute: 300 } });
    running = (async () => {
      // One that has lost its leadership ends, and is started again.
      while (!stop.signal.aborted) {
        const operator = createOperator({
          client: through,
          namespace,
          identity: "test",
          settings: own,
          log: silent,
        });
        await operator.run(stop.signal).catch(() => {});
      }
    })();
  });
  afterAll(async () => {
    stop.abort();
    await running;
    await proxy?.[Symbol.asyncDispose]();
    through?.close();
    direct?.close();
    if (directory !== undefined) await rm(directory, { recursive: true });
  });

  /** A Checkpoint that was taken of container app of pod web-0, so many hours ago. */
  async function make(
    namespace: string,
    name: string,
    age: number,
    more: { pod?: Pod; owner?: KubeObject } = {},
  ) {
    const { metadata, spec, status, kind } = sketch(name, { age });
    const ownerReferences = more.owner && [ownerReference(more.owner, true)];
    const made = await direct.create(checkpoints, {
      apiVersion: API_VERSION,
      kind: kind ?? "",
      metadata: { name, namespace, labels: metadata.labels, ownerReferences },
      spec: { ...spec, checkpointTimestamp: new Date(Date.now() - age * 3_600_000).toISOString() },
    } as Checkpoint);
    const lineage = { podUID: more.pod?.metadata.uid ?? "uid-web-0", containerID: "run-1", restartCount: 0 };
    return await writeStatus(direct, checkpoints, made, { ...status, lineage });
  }
  const create = <T extends KubeObject>(
    resource: Resource<T>,
    namespace: string | undefined,
    name: string,
    spec: object,
  ) =>
    direct.create(resource, {
      apiVersion: API_VERSION,
      kind: resource.kind,
      metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
      spec,
    } as unknown as T);
  const runningPod = async (namespace: string): Promise<Pod> =>
    direct.create(pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "web-0", namespace },
      spec: { nodeName: "nowhere", containers: [{ name: "app", image: "app:1" }] },
    } as Pod);
  const left = async (namespace: string): Promise<string[]> =>
    (await direct.listAll(checkpoints, { namespace })).items.map(({ metadata }) => metadata.name).sort();
  const leaves = (namespace: string, names: string[]) =>
    waitFor(`${names} to be left`, async () => (await left(namespace)).join() === names.join() || undefined, {
      timeoutMs: 90_000,
    });
  const hourly = async (namespace: string, n: number, pod?: Pod): Promise<void> => {
    for (let age = 0; age < n; age++) await make(namespace, `c${age}`, age, { pod });
  };

  test.each<[string, RetentionSpec | object, "taken" | "refused"]>([
    [
      "with all it may say",
      {
        selector: { matchLabels: { a: "b" } },
        keepLast: 3,
        keepHourly: 2,
        keepDaily: 7,
        keepWeekly: 4,
        maxAge: "720h",
        maxCount: 20,
        maxTotalSize: "10Gi",
        maxCheckpointSize: "1.5Gi",
        per: "Workload",
        dryRun: true,
        retainOrphan: false,
      },
      "taken",
    ],
    ["with a number of bytes", { maxTotalSize: 10_737_418_240 }, "taken"],
    ["that means ten of whatever, not ten bytes", { maxCheckpointSize: 10 }, "refused"],
    ["that means ten of whatever, as a text", { maxCheckpointSize: "10" }, "refused"],
    ["with a size that is none", { maxTotalSize: "10GB" }, "refused"],
    ["with a size below nothing", { maxTotalSize: "-1Gi" }, "refused"],
    ["with an age without a unit", { maxAge: "30" }, "refused"],
    ["with an age in days, which no duration of Kubernetes has", { maxAge: "30d" }, "refused"],
    ["by which nothing stays: a number", { maxCount: 0 }, "refused"],
    ["by which nothing stays: an age", { maxAge: "0s" }, "refused"],
    ["by which nothing stays: a sum", { maxTotalSize: "0" }, "refused"],
    ["by which nothing stays: a sum, as a number", { maxTotalSize: 0 }, "refused"],
    ["by which nothing is kept", { keepLast: 0 }, "refused"],
    [
      "by which nothing stays, which is said to be meant",
      { maxCount: 0, maxAge: "0s", maxTotalSize: 0, keepLast: 0, mayRemoveAll: true },
      "taken",
    ],
    ["with a keep of none beside another", { keepLast: 0, keepDaily: 3 }, "taken"],
    ["that selects everything by a slip", { selector: {}, maxCount: 3 }, "refused"],
    ["with less than none", { keepLast: -1 }, "refused"],
    ["per planet", { maxCount: 3, per: "Planet" }, "refused"],
  ])("a policy %s", async (what, spec, expected) => {
    const namespace = await makeNamespace(direct, "taken");
    const answer = await create(retentions, namespace, "p", spec).then(
      () => "taken",
      (error: unknown) => (isInvalid(error) ? "refused" : String(error)),
    );
    expect(answer, what).toBe(expected);
  });

  test("the same is refused in a schedule and for the cluster", async () => {
    const namespace = await makeNamespace(direct, "taken");
    const schedule = { schedule: "@yearly", selector: { matchLabels: { app: "web" } } };
    await expect(
      create(schedules, namespace, "s", { ...schedule, retention: { maxCount: 0 } }),
    ).rejects.toSatisfy(isInvalid);
    await create(schedules, namespace, "s", {
      ...schedule,
      retention: { keepLast: 2, onWorkloadDeleted: "Retain" },
    });
    for (const spec of [
      { defaults: { keepLast: 0 } },
      { ceilings: { maxCount: 0 } },
      { foreignArchives: {} },
      { foreignArchives: { maxAge: "0s" } },
      // Whose they are nobody tells: it would be all of the node's.
      { namespaceSelector: { matchLabels: { tier: "test" } }, foreignArchives: { maxAge: "24h" } },
    ]) {
      await expect(create(clusterRetentions, undefined, "c", spec)).rejects.toSatisfy(isInvalid);
    }
  });

  test("so is a request whose checkpoint would go at once", async () => {
    const namespace = await makeNamespace(direct, "taken");
    const podReference = { name: "web-0" };
    await expect(create(requests, namespace, "r", { podReference, ttl: "0s" })).rejects.toSatisfy(isInvalid);
    await create(requests, namespace, "r", { podReference, ttl: "1m" });
  });

  test("a dry run tells what would go, and nothing goes until it is meant", async () => {
    const namespace = await makeNamespace(direct, "dry");
    const pod = await runningPod(namespace);
    await hourly(namespace, 5, pod);
    const policy = await create(retentions, namespace, "few", { keepLast: 3, dryRun: true });
    const status = await waitFor("its status to tell of two", async () => {
      const seen = (await direct.get(retentions, policy.metadata)).status;
      return seen?.removable?.count === 2 && seen;
    });
    expect(status.matched).toEqual({ count: 5, bytes: 5 * 1024 ** 3 });
    expect(status.next).toMatchObject([
      { name: "c4", why: "no rule keeps it", bytes: 1024 ** 3 },
      { name: "c3" },
    ]);
    expect(findCondition(status.conditions, "Ready")).toMatchObject({ status: "True", reason: "DryRun" });
    expect(await left(namespace)).toHaveLength(5);
    await direct.patch(retentions, policy.metadata, { type: "merge", body: { spec: { dryRun: false } } });
    await leaves(namespace, ["c0", "c1", "c2"]);
  });

  test("a person sees by the command what policies of a file would do, before they are there", async () => {
    const namespace = await makeNamespace(direct, "seen");
    await hourly(namespace, 4, await runningPod(namespace));
    await create(schedules, namespace, "web", {
      schedule: "@yearly",
      selector: { matchLabels: { app: "web" } },
    });
    const file = join(directory, "policy.yaml");
    await writeFile(
      file,
      [
        `apiVersion: ${API_VERSION}`,
        "kind: CheckpointRetention",
        "metadata: {name: few}",
        "spec: {keepLast: 1, maxCheckpointSize: 10Gi}",
      ].join("\n"),
    );
    const connection = { client: direct, namespace, again: "" };
    const plan = async (policy?: string) => {
      const io = testIo();
      const options = { allNamespaces: false, spared: true, output: "json" as const };
      await showPlan(connection, io, { ...options, ...(policy === undefined ? {} : { policy }) });
      return JSON.parse(io.written.out).items;
    };
    expect(await plan()).toMatchObject([{ name: "c3", goes: true, policy: "kcr's settings" }]);
    expect(await plan(file)).toMatchObject([
      {
        name: "c3",
        goes: true,
        why: "no rule keeps it",
        policy: "CheckpointRetention/few",
        bytes: 1024 ** 3,
      },
      { name: "c2", goes: true },
      { name: "c1", goes: false, why: "it is the newest good one but one" },
    ]);
    expect(await left(namespace)).toHaveLength(4);
    await writeFile(file, "kind: Deployment");
    await expect(plan(file)).rejects.toThrow("holds no policy");
  });

  test("a ceiling of the cluster holds over what a namespace says, where it is meant for it", async () => {
    const namespace = await makeNamespace(direct, "ceiling");
    const other = await makeNamespace(direct, "ceiling");
    const pod = await runningPod(namespace);
    await hourly(namespace, 5, pod);
    await hourly(other, 5, await runningPod(other));
    await create(retentions, namespace, "many", { keepLast: 10 });
    const selected = { "kubernetes.io/metadata.name": namespace };
    const ceiling = await create(clusterRetentions, undefined, `only-${namespace}`, {
      namespaceSelector: { matchLabels: selected },
      ceilings: { maxCount: 3 },
    });
    await leaves(namespace, ["c0", "c1", "c2"]);
    expect(await left(other)).toHaveLength(5);
    await direct.delete(clusterRetentions, ceiling.metadata);
  });

  test("what a schedule is to leave behind is not its own any more", async () => {
    const namespace = await makeNamespace(direct, "retain");
    const schedule = await create(schedules, namespace, "web", {
      schedule: "@yearly",
      selector: { matchLabels: { app: "web" } },
      retention: { onWorkloadDeleted: "Retain" },
    });
    const request = await create(requests, namespace, "r", { podReference: { name: "web-0" } });
    await writeStatus(direct, requests, request, {
      phase: "Completed",
      completionTime: new Date().toISOString(),
    });
    const { metadata } = await make(namespace, "c", 0, { owner: request });
    // Of another schedule that has the same name.
    await waitFor("nothing to be done for a schedule that it is not of", () => proxy.watches > 0);
    expect((await direct.get(checkpoints, metadata)).metadata.ownerReferences).toHaveLength(1);
    const own = await direct.create(checkpoints, {
      apiVersion: API_VERSION,
      kind: "Checkpoint",
      metadata: { name: "own", namespace, ownerReferences: [ownerReference(request, true)] },
      spec: {
        ...sketch("own").spec,
        checkpointScheduleRef: { name: "web", uid: schedule.metadata.uid },
      },
    } as Checkpoint);
    await waitFor("it to be nobody's", async () => {
      const { ownerReferences } = (await direct.get(checkpoints, own.metadata)).metadata;
      return (ownerReferences ?? []).length === 0;
    });
  });

  test("errors of the API server during a collection: nothing goes that should stay, and then all goes that should", {
    timeout: FAULT_MS * 2 + 240_000,
  }, async () => {
    const namespace = await makeNamespace(direct, "faulty");
    const pod = await runningPod(namespace);
    await hourly(namespace, 40, pod);
    const policy = await create(retentions, namespace, "few", { keepLast: 3, dryRun: true });
    await waitFor(
      "the policy to be known",
      async () => (await direct.get(retentions, policy.metadata)).status?.removable,
    );

    // The first deletions pass. Then nothing the operator asks is answered, while people go on.
    let deletions = 0;
    let until = Number.POSITIVE_INFINITY;
    proxy.befall = ({ method, url, isWatch }) => {
      if (Date.now() >= until || url.includes("/leases/")) return undefined;
      if (until === Number.POSITIVE_INFINITY) {
        if (method !== "DELETE" || !url.includes(namespace)) return undefined;
        deletions += 1;
        if (deletions < 5) return undefined;
        until = Date.now() + FAULT_MS;
        proxy.cut();
      }
      return isWatch ? { type: "answer", status: 503 } : { type: "answer", status: 500 };
    };
    await direct.patch(retentions, policy.metadata, { type: "merge", body: { spec: { dryRun: false } } });
    await waitFor("the errors to begin", () => until !== Number.POSITIVE_INFINITY, { timeoutMs: 90_000 });
    await create(restores, namespace, "back", { checkpointName: "c10", podReference: { name: "web-0" } });
    await direct.patch(
      checkpoints,
      { namespace, name: "c12" },
      {
        type: "merge",
        body: { metadata: { annotations: { [PINNED_ANNOTATION]: "true" } } },
      },
    );
    const before = await left(namespace);
    await waitFor("the errors to end", () => Date.now() >= until, { timeoutMs: FAULT_MS + 10_000 });
    expect(await left(namespace)).toEqual(before);
    expect(before.length).toBeGreaterThan(30);
    expect(proxy.befallen.get("answer")).toBeGreaterThan(3);
    // The demand controller refuses the restore in the end, and then nothing uses it any more.
    await waitFor("all to go that may", async () => (await left(namespace)).length <= 5, {
      timeoutMs: 200_000,
      intervalMs: 500,
    });
    expect(await left(namespace)).toEqual(expect.arrayContaining(["c0", "c1", "c12", "c2"]));
  });

  test("an error about who uses a checkpoint is no word that nobody does", { timeout: 120_000 }, async () => {
    const namespace = await makeNamespace(direct, "half");
    const pod = await runningPod(namespace);
    await hourly(namespace, 6, pod);
    let refused = 0;
    proxy.befall = ({ url, isWatch }) => {
      if (isWatch || !url.includes(namespace) || !url.includes("checkpointdownloads")) return undefined;
      refused += 1;
      return { type: "answer", status: 500 };
    };
    await create(retentions, namespace, "few", { keepLast: 3 });
    await waitFor("it to be tried more than once", () => refused >= 3);
    expect(await left(namespace)).toHaveLength(6);
    proxy.befall = () => undefined;
    await leaves(namespace, ["c0", "c1", "c2"]);
  });

  test("a picture that is not of now decides nothing: what is used since then stays", {
    timeout: 120_000,
  }, async () => {
    const namespace = await makeNamespace(direct, "stale");
    const pod = await runningPod(namespace);
    await hourly(namespace, 6, pod);
    const policy = await create(retentions, namespace, "few", { keepLast: 3, dryRun: true });
    await waitFor(
      "the policy to be known",
      async () => (await direct.get(retentions, policy.metadata)).status?.removable,
    );
    // From here on it hears of no download.
    proxy.befall = ({ url, isWatch }) =>
      isWatch && url.includes("checkpointdownloads") ? { type: "stall", afterBytes: 0 } : undefined;
    proxy.cut();
    await waitFor("its watches to be there again", () => (proxy.befallen.get("stall") ?? 0) > 0);
    await direct.create(
      { ...checkpoints, plural: "checkpointdownloads", kind: "CheckpointDownload" } as Resource,
      {
        apiVersion: API_VERSION,
        kind: "CheckpointDownload",
        metadata: { name: "d", namespace },
        spec: { checkpointName: "c4", publicKey: `x25519:${"A".repeat(43)}`, ttlSeconds: 3600 },
      } as KubeObject,
    );
    await direct.patch(retentions, policy.metadata, { type: "merge", body: { spec: { dryRun: false } } });
    await leaves(namespace, ["c0", "c1", "c2", "c4"]);
    proxy.befall = () => undefined;
    proxy.cut();
  });
});
