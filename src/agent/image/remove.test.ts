import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkpointEntries, makeTar } from "../../../test/support/archive.ts";
import { ARCHIVE_FINALIZER, type Checkpoint } from "../../api/checkpoint.ts";
import { settings } from "../../api/settings.ts";
import { silent } from "../../kube/log.ts";
import { Layout } from "../../store/layout.ts";
import { PLAN_VERSION, type Plan } from "../../store/plan.ts";
import { Archives } from "../archives.ts";
import type { Context } from "../context.ts";
import { Locks } from "../locks.ts";
import { Pins } from "../store/pins.ts";
import { LocalStore } from "../store/store.ts";
import { imageReconciler } from "./controller.ts";

let root: string;
let store: LocalStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-remove-"));
  store = new LocalStore(new Layout(root));
  await store.start();
});
afterEach(() => rm(root, { recursive: true }));

test("a copy that is to go waits until no plan names it, and not for ever", async () => {
  const tar = await makeTar(checkpointEntries({}));
  const read = async function* () {
    yield tar;
  };
  await store.add({ name: "a", size: tar.length, read }, new AbortController().signal);
  const copy = createHash("sha256").update(tar).digest("hex");
  const deletedTime = new Date("2026-03-02T12:00:00Z");
  const checkpoint = {
    metadata: {
      name: "c",
      namespace: "shop",
      uid: "u",
      deletionTimestamp: deletedTime.toISOString(),
      finalizers: [ARCHIVE_FINALIZER],
    },
    spec: { nodeName: "n", checkpointData: "checkpoint-c.tar", containerName: "app" },
    status: { phase: "ImageBuilt", digest: `sha256:${copy}` },
  } as Checkpoint;
  const plan = {
    version: PLAN_VERSION,
    podUID: "pod-1",
    container: "app",
    namespace: "shop",
    pod: "web",
    run: "r",
    onFailure: true,
    fallback: "FreshStart",
    onSpecChange: "Fresh",
    volumes: "Capture",
    maxAttempts: 3,
    stableSeconds: 30,
    perPodEnv: [],
    sharedVolumes: [],
    candidates: [{ checkpoint: "c", uid: "u", copy, takenTime: "2026-03-02T11:00:00Z", containerID: "r" }],
  } satisfies Plan;
  const path = store.layout.plan({ podUID: "pod-1", container: "app" });
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(plan));

  let seconds = 0;
  const now = () => new Date(deletedTime.getTime() + seconds * 1000);
  let released = 0;
  const context = {
    node: "n",
    client: {
      get: async () => checkpoint,
      patch: async () => {
        released += 1;
        return checkpoint;
      },
    },
    settings: settings.parse({ store: "node" }),
    archives: new Archives(join(root, "archives")),
    store,
    pins: new Pins(store.layout, now),
    locks: new Locks(),
    caches: { checkpoints: { get: () => checkpoint, list: () => [checkpoint] } },
    log: silent,
    now,
  } as unknown as Context;
  const reconcile = () =>
    imageReconciler(context)({ namespace: "shop", name: "c" }, new AbortController().signal);

  expect(await reconcile()).toMatchObject({ type: "again" });
  expect([await store.has(copy), released]).toEqual([true, 0]);
  seconds = 29;
  expect(await reconcile()).toMatchObject({ type: "again" });
  await rm(path);
  expect(await reconcile()).toEqual({ type: "done" });
  expect([await store.has(copy), released]).toEqual([false, 1]);
  await writeFile(path, JSON.stringify(plan));
  seconds = 31;
  expect(await reconcile()).toEqual({ type: "done" });
});
