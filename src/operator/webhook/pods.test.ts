import { beforeEach, describe, expect, it } from "vitest";
import { SCHEDULE_ANNOTATION } from "../../api/labels.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import type { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import { ApiError } from "../../kube/errors.ts";
import type { KubeObject, Pod } from "../../kube/resources.ts";
import { type PodWebhookContext, reviewPod } from "./pods.ts";
import { Promised } from "./promised.ts";

const { signal } = new AbortController();
const owner = (kind: string, name: string, apiVersion = "apps/v1") => ({
  ownerReferences: [{ apiVersion, kind, name, uid: `uid-${name}`, controller: true }],
});
const annotated = { annotations: { [SCHEDULE_ANNOTATION]: "@hourly" } };
const object = (name: string, more: object = {}): KubeObject => ({
  metadata: { name, uid: `uid-${name}`, ...more },
});

/** A cache of these, for what is read of one here. */
const cacheOf = <T extends KubeObject>(items: T[]) =>
  ({
    list: () => items,
    get: (_: string, name: string) => items.find((item) => item.metadata.name === name),
    byIndex: () => [],
  }) as unknown as Cache<T>;

describe("the review of a new pod", () => {
  /** What the API server has, by kind and name. */
  let server: Record<string, KubeObject>;
  let reads: string[];
  let context: PodWebhookContext;
  beforeEach(() => {
    server = {};
    reads = [];
    const client = {
      get: async (resource: { kind: string }, { name }: { name: string }) => {
        reads.push(`${resource.kind}/${name}`);
        const found = server[`${resource.kind}/${name}`];
        if (found === undefined) throw new ApiError("GET", { status: 404 });
        return found;
      },
    } as unknown as Client;
    const allocatable = { cpu: "2", pods: "100" };
    const node = {
      metadata: { name: "n", labels: { "kcr.io/runtime": "ready" } },
      status: { conditions: [{ type: "Ready", status: "True" }], allocatable },
    };
    context = {
      client,
      promised: new Promised(),
      caches: {
        schedules: cacheOf<CheckpointSchedule>([]),
        pods: cacheOf<Pod>([]),
        nodes: cacheOf([node]) as never,
        runtimeClasses: cacheOf([{ metadata: { name: "kcr" }, handler: "kcr" }]),
      },
    };
  });

  const review = (metadata: object, spec: object = {}, more: object = {}) => {
    const pod = {
      kind: "Pod",
      metadata: { name: "p", ...metadata },
      spec: { containers: [{ name: "app" }], ...spec },
    };
    return reviewPod(
      context,
      { uid: "1", operation: "CREATE", namespace: "ns", object: pod as Pod, ...more },
      signal,
    );
  };
  const gotClass = async (answer: ReturnType<typeof review>): Promise<boolean> =>
    (await answer).patch?.some(({ path }) => path === "/spec/runtimeClassName") ?? false;

  it.each<[string, object, Record<string, KubeObject>, boolean]>([
    [
      "of an annotated Deployment",
      owner("ReplicaSet", "rs"),
      { "ReplicaSet/rs": object("rs", owner("Deployment", "d")), "Deployment/d": object("d", annotated) },
      true,
    ],
    [
      "of one that is not",
      owner("ReplicaSet", "rs"),
      { "ReplicaSet/rs": object("rs", owner("Deployment", "d")), "Deployment/d": object("d") },
      false,
    ],
    [
      "of an annotated StatefulSet",
      owner("StatefulSet", "s"),
      { "StatefulSet/s": object("s", annotated) },
      true,
    ],
    ["of an annotated DaemonSet", owner("DaemonSet", "d"), { "DaemonSet/d": object("d", annotated) }, true],
    ["of an annotated Job", owner("Job", "j", "batch/v1"), { "Job/j": object("j", annotated) }, true],
    [
      "of a kind of another group",
      owner("Job", "j", "example.com/v1"),
      { "Job/j": object("j", annotated) },
      false,
    ],
    ["of a kind that is not known", owner("Widget", "w"), { "Widget/w": object("w", annotated) }, false],
    ["of nothing", {}, {}, false],
    ["whose workload is gone", owner("StatefulSet", "s"), {}, false],
    [
      "whose workload is another of that name",
      owner("StatefulSet", "s"),
      { "StatefulSet/s": object("s", { ...annotated, uid: "other" }) },
      false,
    ],
    [
      "of a ReplicaSet that claims to be of another's Deployment",
      owner("ReplicaSet", "rs"),
      {
        "ReplicaSet/rs": object("rs", owner("Deployment", "d")),
        "Deployment/d": object("d", { ...annotated, uid: "other" }),
      },
      false,
    ],
    [
      "of an annotated ReplicaSet alone",
      owner("ReplicaSet", "rs"),
      { "ReplicaSet/rs": object("rs", annotated) },
      false,
    ],
  ])("%s", async (_what, metadata, there, expected) => {
    Object.assign(server, there);
    expect(await gotClass(review(metadata))).toBe(expected);
    expect(reads.length).toBeLessThanOrEqual(2);
  });

  const schedule = (name: string, spec: object, more: object = {}): CheckpointSchedule => ({
    metadata: { name, namespace: "ns", ...more },
    spec: { schedule: "@hourly", selector: { matchLabels: { app: "a" } }, ...spec },
  });
  const labels = { app: "a" };
  it.each<[string, CheckpointSchedule[], object, boolean]>([
    ["that restores on failure", [schedule("s", {})], { labels }, true],
    ["of other pods", [schedule("s", {})], { labels: { app: "b" } }, false],
    ["of a container that it has not", [schedule("s", { containers: ["other"] })], { labels }, false],
    ["that only takes checkpoints", [schedule("s", { restore: { policy: "Never" } })], { labels }, false],
    ["that wants images", [schedule("s", { restore: { strategy: "Image" } })], { labels }, false],
    [
      "that is being deleted",
      [schedule("s", {}, { deletionTimestamp: "2026-01-01T00:00:00Z" })],
      { labels },
      false,
    ],
    [
      "of its workload that only takes checkpoints, whatever the annotation",
      [schedule("s", { restore: { policy: "Never" } }, owner("StatefulSet", "s"))],
      { labels, ...owner("StatefulSet", "s") },
      false,
    ],
    [
      "of somebody else that only takes checkpoints, while the annotation's is not there yet",
      [schedule("x", { restore: { policy: "Never" } })],
      { labels, ...owner("StatefulSet", "s") },
      true,
    ],
  ])("goes by a schedule %s", async (_what, all, metadata, expected) => {
    server["StatefulSet/s"] = object("s", annotated);
    context.caches.schedules = {
      ...cacheOf(all),
      byIndex: () => all,
    } as unknown as Cache<CheckpointSchedule>;
    expect(await gotClass(review(metadata))).toBe(expected);
  });

  it("asks nothing about pods that stay as they are anyway", async () => {
    expect(await review(owner("StatefulSet", "s"), { hostPID: true })).toEqual({});
    expect(await review(owner("StatefulSet", "s"), {}, { operation: "UPDATE" })).toEqual({});
    expect(await review(owner("StatefulSet", "s"), {}, { namespace: undefined })).toEqual({});
    expect(reads).toEqual([]);
  });

  it("gives the errors of its look-ups on, so that the pod is let through as it is", async () => {
    context.client.get = () => Promise.reject(new ApiError("GET", { status: 500 }));
    await expect(review(owner("StatefulSet", "s"))).rejects.toThrow(ApiError);
  });

  it("of several that are made at once: each gets room of its own, and one that was only tried takes none", async () => {
    server["StatefulSet/s"] = object("s", annotated);
    const large = { containers: [{ name: "app", resources: { requests: { cpu: "1500m" } } }] };
    const make = (dryRun = false) => gotClass(review(owner("StatefulSet", "s"), large, { dryRun }));
    expect([await make(true), await make(true), await make(), await make()]).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });
});
