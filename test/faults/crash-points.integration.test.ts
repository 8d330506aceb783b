import { generateKeyPairSync } from "node:crypto";
import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  IMAGE_FINALIZER,
  LINEAGE_LOST,
  LOCAL_COPY,
} from "../../src/api/checkpoint.ts";
import { findCondition, isTrue } from "../../src/api/conditions.ts";
import type { DownloadStatus } from "../../src/api/download.ts";
import { API_VERSION } from "../../src/api/group.ts";
import {
  checkpoints,
  clusterRetentions,
  downloads,
  isGood,
  isPoisoned,
  isTerminal,
  requests,
  restores,
  retentions,
  schedules,
} from "../../src/api/kinds.ts";
import {
  CRIU_OPTIONS_ANNOTATION,
  LABEL_POD,
  PRESSURE_ANNOTATION,
  SCHEDULE_ANNOTATION,
} from "../../src/api/labels.ts";
import { RESTORED } from "../../src/api/pod.ts";
import { readRecords } from "../../src/api/records.ts";
import { READY, type RequestSpec } from "../../src/api/request.ts";
import type { RestoreSpec } from "../../src/api/restore.ts";
import {
  type Deployment,
  deployments,
  events,
  type KubeObject,
  mutatingWebhookConfigurations,
  nodes,
  type Pod,
  pods,
  type Resource,
} from "../../src/kube/resources.ts";
import { absent, writeStatus } from "../../src/kube/write.ts";
import { AGENT_CRASH_POINTS, BESIDE, OCCASIONAL, OPERATOR_CRASH_POINTS } from "./crash-points.ts";
import { BASE, IMAGE, NODE, OTHER_NODE, Stage } from "./stage.ts";

/** Each kill costs a start. */
const PATIENCE_MS = 600_000;
/** A call by which something outside the process changes. */
const WRITES =
  /\bclient\.(create|patch|replace|apply|delete)\(|\b(writeStatus|updateStatus|writeCondition|dropFinalizer|applyOwned|writeWhole|rm|unlink|rename|link|symlink|writeFile|pushDocument|pushCheckpointImage)\(|\.(uploadBlob|putManifest|deleteManifest)\(/;
const GIVEN_UP = "agent/dump/controller fail: patch checkpointrequests/status Failed";
const RARELY = "0 0 1 1 *";

describe.skipIf(inject("kubeconfig") === undefined)(
  "operator and agent, killed before and after each write of theirs,",
  { timeout: PATIENCE_MS },
  () => {
    let stage: Stage;
    /** Restored by an image, and by the handler. */
    let web: Pod;
    let cache: Pod;
    beforeAll(async () => {
      stage = await Stage.set();
    }, PATIENCE_MS);
    afterAll(() => stage?.[Symbol.asyncDispose]());

    const { of, named } = {
      of: async (pod: Pod): Promise<Checkpoint[]> =>
        (await stage.client.list(checkpoints, { namespace: stage.namespace })).items.filter(
          ({ metadata, status }) =>
            status?.lineage?.podUID === pod.metadata.uid && !metadata.name.startsWith("far"),
        ),
      named: (name: string) => ({ namespace: stage.namespace, name }),
    };
    const deployment = (name: string): Promise<Deployment> =>
      stage.client.create(deployments, {
        metadata: { ...named(name), annotations: { [SCHEDULE_ANNOTATION]: RARELY } },
        spec: {
          selector: { matchLabels: { app: name } },
          template: {
            metadata: { labels: { app: name } },
            spec: { containers: [{ name: "app", image: "app" }] },
          },
        },
      });
    const annotate = (name: string, cron: string | null) =>
      stage.client.patch(deployments, named(name), {
        type: "merge",
        body: { metadata: { annotations: { [SCHEDULE_ANNOTATION]: cron } } },
      });
    const ask = (name: string, spec: RequestSpec) =>
      stage.client.create(requests, {
        apiVersion: API_VERSION,
        kind: requests.kind,
        metadata: named(name),
        spec,
      });
    const requestEnded = (name: string) =>
      stage.until(`request ${name} to end`, async () => {
        const request = await stage.client.get(requests, named(name));
        return isTerminal(request) && request.status;
      });
    const goBack = (name: string, spec: RestoreSpec) =>
      stage.client.create(restores, {
        apiVersion: API_VERSION,
        kind: restores.kind,
        metadata: named(name),
        spec,
      });
    const wentBack = (name: string) =>
      stage.until(`CheckpointRestore ${name} to end`, async () => {
        const restore = await stage.client.get(restores, named(name));
        return isTerminal(restore) && restore.status;
      });
    const { publicKey } = generateKeyPairSync("x25519");
    const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64url");
    const offer = (name: string, checkpointName: string, ttlSeconds: number) =>
      stage.client.create(downloads, {
        metadata: named(name),
        spec: { checkpointName, publicKey: `x25519:${raw}`, ttlSeconds },
      });
    const download = async (is: (status: DownloadStatus) => boolean) => {
      const now = await stage.client.get(downloads, named("download"));
      return now.status !== undefined && is(now.status) && now;
    };
    const isRestored = async (pod: Pod, text: string) => {
      const { status } = await stage.podNow(pod);
      const told = status?.conditions?.find(({ type }) => type === RESTORED);
      return told?.status === "True" && told.message?.includes(text) === true;
    };

    /** A Checkpoint of a pod that is no more, as the agent of its node has left it. */
    const elsewhere = async (
      name: string,
      status: CheckpointStatus,
      more: { node?: string; finalizers?: string[]; labels?: Record<string, string> } = {},
    ): Promise<Checkpoint> => {
      const { node = OTHER_NODE, finalizers = [ARCHIVE_FINALIZER, IMAGE_FINALIZER], labels = {} } = more;
      const made = await stage.client.create(checkpoints, {
        metadata: { ...named(name), finalizers, labels },
        spec: {
          checkpointData: `checkpoint-${name}.tar`,
          checkpointTimestamp: new Date().toISOString(),
          checkpointID: name,
          containerName: "app",
          nodeName: node,
        },
      });
      const lineage = { podUID: "elsewhere", containerID: "elsewhere", restartCount: 0 };
      return await writeStatus(stage.client, checkpoints, made, { lineage, ...status });
    };
    const good = (digit: string): CheckpointStatus => ({
      phase: "ImageBuilt",
      digest: `sha256:${digit.repeat(64)}`,
      baseImage: IMAGE,
      baseImageDigest: BASE,
      conditions: [
        {
          type: "Restorable",
          status: "True",
          reason: "Test",
          message: "",
          lastTransitionTime: new Date().toISOString(),
        },
      ],
    });

    it("protect a workload that is annotated", async () => {
      await stage.client.create(mutatingWebhookConfigurations, {
        metadata: { name: "kcr" },
        webhooks: [
          {
            name: "pods.kcr.io",
            admissionReviewVersions: ["v1"],
            sideEffects: "None",
            failurePolicy: "Ignore",
            clientConfig: { service: { namespace: "kcr-system", name: "kcr-webhook" } },
            rules: [],
          },
        ],
      });
      await offer("brief", "none", 30);
      web = await stage.pod("web");
      cache = await stage.pod("cache", {
        runtimeClassName: "kcr",
        annotations: { [CRIU_OPTIONS_ANNOTATION]: "tcp-established" },
      });
      for (const name of ["web", "cache"]) {
        await deployment(name);
        await stage.until(`Deployment ${name} to be protected`, async () =>
          (await stage.client.get(deployments, named(name))).status?.conditions?.some(
            ({ type, status }) => type === "kcr.io/Protected" && status === "True",
          ),
        );
        await annotate(name, "0 0 2 1 *");
        await stage.until("the change", async () => {
          const { spec } = await stage.client.get(schedules, named(name));
          return spec.schedule === "0 0 2 1 *";
        });
      }
      await stage.until("the run to be noted", async () => "app" in readRecords(await stage.podNow(web)));
      await stage.until("the plan to be written", () => stage.plan(cache));
    });

    // What comes of it is looked at later: the operator is killed over it while the agent is over its dumps.
    it("are told what is to stay", async () => {
      const gone = { labels: { [LABEL_POD]: "elsewhere", set: "gone" }, finalizers: [] };
      await elsewhere("far-older", good("d"), gone);
      await elsewhere("far-newer", good("e"), gone);
      await stage.client.create(clusterRetentions, {
        apiVersion: API_VERSION,
        kind: clusterRetentions.kind,
        metadata: { name: "ceiling" },
        spec: { ceilings: { maxCount: 1000 } },
      });
      await stage.client.create(retentions, {
        apiVersion: API_VERSION,
        kind: retentions.kind,
        metadata: named("newest"),
        spec: { selector: { matchLabels: { set: "gone" } }, maxCount: 1 },
      });
      const retain = { spec: { retention: { onWorkloadDeleted: "Retain" } } };
      await stage.client.patch(schedules, named("web"), { type: "merge", body: retain });
      // There is room.
      const pressed = { metadata: { annotations: { [PRESSURE_ANNOTATION]: "none is left" } } };
      await stage.client.patch(nodes, { name: NODE }, { type: "merge", body: pressed });
    });

    it("take a due checkpoint of each once, and have it where it belongs", async () => {
      const isQueued = async () =>
        (await stage.client.list(requests, { namespace: stage.namespace })).items.some(
          ({ status }) => findCondition(status?.conditions, "Accepted")?.reason === "Queued",
        );
      stage.answer = async (call) => {
        await stage.until("the other request to wait for its turn", isQueued);
        stage.answer = (call) => stage.dump(call);
        return await stage.dump(call);
      };
      for (const name of ["web", "cache"]) {
        const body = { status: { lastRunTime: "2001-01-01T00:00:00Z" } };
        await stage.client.patch(schedules, named(name), { type: "merge", body }, { subresource: "status" });
      }
      for (const pod of [web, cache]) {
        await stage.until(`the Checkpoint of ${pod.metadata.name} to be settled`, async () => {
          const [taken] = await of(pod);
          if (taken === undefined || taken.status?.phase !== "ImageBuilt" || !isGood(taken)) return false;
          const isReleased = !(await readdir(stage.archives)).includes(taken.spec.checkpointData);
          const isCopied = isTrue(taken.status.conditions, LOCAL_COPY);
          return isReleased && isCopied === (pod === cache);
        });
      }
      const { items } = await stage.client.list(requests, { namespace: stage.namespace });
      expect(items.map(({ status }) => status?.phase)).toEqual(["Completed", "Completed"]);
      for (const pod of [web, cache]) expect(await of(pod)).toHaveLength(1);
    });

    it("tell of what the handler did when a container crashed, once", async () => {
      const [first] = await of(cache);
      await ask("second", { podReference: { name: "cache" } });
      const { name: second = "" } = (await requestEnded("second"))?.checkpoint ?? {};
      await stage.until(
        "the plan to name both",
        async () => (await stage.plan(cache))?.candidates.length === 2,
      );
      const { uid } = (await stage.client.get(checkpoints, named(second))).metadata;
      const failed = [
        {
          checkpoint: second,
          checkpointUID: uid,
          code: "RestoreFailed",
          message: "it crashed",
          poisoned: true,
        },
      ];
      await stage.restore(cache, 1, first!.metadata.name, { failed });
      await stage.until(
        "the note to be told",
        async () => (await readdir(stage.layout.notes(stage.key(cache)))).length === 0,
      );
      expect(await stage.client.get(checkpoints, first!.metadata)).toMatchObject({
        status: { restoredCount: 1 },
      });
      expect(isPoisoned(await stage.client.get(checkpoints, named(second)))).toBe(true);
      expect(await isRestored(cache, first!.metadata.name)).toBe(true);
      const { items } = await stage.client.list(events, { namespace: stage.namespace });
      expect(
        items
          .filter(({ reason }) => reason === "Restored")
          .map((e) => e.regarding?.kind)
          .sort(),
      ).toEqual(["Deployment", "Pod"]);
    });

    it("restore a container that crashed by its image", async () => {
      const [taken] = await of(web);
      const lineage = { podUID: web.metadata.uid ?? "", containerID: "web-0", restartCount: 0 };
      const place = {
        checkpointImage: taken?.status?.checkpointImage,
        imageDigest: `sha256:${"c".repeat(64)}`,
      };
      const lost = await elsewhere(
        "far-image",
        { ...good("c"), lineage, ...place },
        { node: NODE, finalizers: [] },
      );
      await stage.run(web, 1);
      await stage.until(
        "the image to be the Checkpoint's",
        async () => (await stage.imageNow(web)) === taken?.status?.runtimeImage,
      );
      expect(isGood(await stage.client.get(checkpoints, lost.metadata))).toBe(false);
      await stage.run(web, 2);
      await stage.until("the run to be noted", async () => {
        const record = readRecords(await stage.podNow(web))["app"];
        return record?.run === 2 && record.parent === taken?.metadata.name;
      });
      expect(await isRestored(web, taken!.metadata.name)).toBe(true);
      expect(await stage.client.get(checkpoints, taken!.metadata)).toMatchObject({
        status: { restoredCount: 1 },
      });
    });

    it("take a container back where a person asks for it, by the handler and by an image", async () => {
      const [taken] = (await of(cache)).filter((c) => !isPoisoned(c));
      await goBack("cache-back", { checkpointName: taken!.metadata.name, podReference: { name: "cache" } });
      const before = await stage.imageNow(cache);
      await stage.until("the kubelet to be told", async () => (await stage.imageNow(cache)) !== before);
      const armed = (await stage.plan(cache))?.armed;
      await stage.restore(cache, 2, taken!.metadata.name, { armed: armed?.id });
      expect(await wentBack("cache-back")).toMatchObject({
        phase: "Completed",
        savedCheckpoint: expect.any(String),
      });

      const [own] = await of(web);
      const image = await stage.imageNow(web);
      await goBack("web-back", {
        checkpointName: own!.metadata.name,
        podReference: { name: "web" },
        discardCurrent: true,
      });
      await stage.until("the kubelet to be told", async () => (await stage.imageNow(web)) !== image);
      await stage.run(web, 3);
      expect(await wentBack("web-back")).toMatchObject({ phase: "Completed" });
      expect(await stage.client.get(checkpoints, own!.metadata)).toMatchObject({
        status: { restoredCount: 2 },
      });
    });

    it("make a Checkpoint of a dump that ended too late for its request", async () => {
      const late = await stage.pod("late");
      const ended = Promise.withResolvers<void>();
      let isBegun = false;
      stage.answer = async (call) => {
        isBegun = true;
        await ended.promise;
        return await stage.dump(call);
      };
      let name = "";
      // A busy machine does not begin at once.
      for (let timeoutSeconds = 1; !isBegun; timeoutSeconds *= 4) {
        name = `late-${timeoutSeconds}`;
        await ask(name, { podReference: { name: "late" }, timeoutSeconds });
        expect(await requestEnded(name)).toMatchObject({ phase: "Failed", reason: "DeadlineExceeded" });
      }
      await stage.survived("agent", `after ${GIVEN_UP}`);
      // When it has looked at this one, it has looked at that one before.
      await stage.pod("odd", { annotations: { [CRIU_OPTIONS_ANNOTATION]: "no-such-option" } });
      await ask("odd", { podReference: { name: "odd" } });
      expect(await requestEnded("odd")).toMatchObject({ phase: "Failed", reason: "CriuOptionsInvalid" });
      ended.resolve();
      stage.answer = (call) => stage.dump(call);
      await stage.until("the Checkpoint", async () => {
        const { status } = await stage.client.get(requests, named(name));
        return status?.checkpoint !== undefined;
      });
      expect(await of(late)).toHaveLength(1);
    });

    it("end what cannot be, with a reason", async () => {
      await ask("nobody", { podReference: { name: "web" }, containerName: "nobody" });
      expect(await requestEnded("nobody")).toMatchObject({ phase: "Failed", reason: "ContainerNotFound" });
      const [own] = await of(cache);
      await offer("download", own!.metadata.name, 3600);
      const waiting = await stage.until("the download to wait", () =>
        download((status) => status.phase === "Pending"),
      );
      expect(waiting.status?.reason).toBe("DownloadUnavailable");
      await stage.downloadPart();
      await stage.until("the download to be offered", () => download((status) => status.phase === "Ready"));
      const lost = await elsewhere("far-archive", { phase: "Created" }, { node: NODE });
      await stage.until("a Checkpoint without an archive to fail", async () => {
        const { status } = await stage.client.get(checkpoints, lost.metadata);
        return status?.phase === "Failed";
      });
    });

    it("let go of what no policy keeps", async () => {
      const longAgo = { status: { completionTime: "2001-01-01T00:00:00Z" } };
      await stage.client.patch(
        requests,
        named("odd"),
        { type: "merge", body: longAgo },
        { subresource: "status" },
      );
      const isGone = async (resource: Resource<KubeObject>, name: string) =>
        (await stage.client.get(resource, named(name)).catch(absent)) === undefined;
      await stage.until("a request to go", () => isGone(requests, "odd"));
      await stage.until("the older Checkpoint to go", () => isGone(checkpoints, "far-older"));
      await stage.until("the lost state to be told", async () => {
        const { status } = await stage.client.get(checkpoints, named("far-newer"));
        return isTrue(status?.conditions, LINEAGE_LOST);
      });
      await stage.until("a Checkpoint to be no request's any more", async () => {
        const [own] = (await of(web)).filter(({ spec }) => spec.checkpointScheduleRef !== undefined);
        return own !== undefined && own.metadata.ownerReferences === undefined;
      });
      await stage.until("both policies to tell", async () => {
        const own = await stage.client.get(retentions, named("newest"));
        const ofAll = await stage.client.get(clusterRetentions, { name: "ceiling" });
        return [own, ofAll].every(({ status }) => isTrue(status?.conditions, READY));
      });
      await stage.until("the node to have room", async () => {
        const { annotations } = (await stage.client.get(nodes, { name: NODE })).metadata;
        return annotations?.[PRESSURE_ANNOTATION] === undefined;
      });
    });

    it("tell of what is on another node, and of one that is gone", async () => {
      const far = await elsewhere("far", good("a"));
      await elsewhere("far-lost", { phase: "Created" });
      await goBack("cache-far", {
        checkpointName: "far",
        podReference: { name: "cache" },
        discardCurrent: true,
      });
      expect(await wentBack("cache-far")).toMatchObject({ phase: "Failed", reason: "CopyMissing" });

      const copy = stage.layout.copy("a".repeat(64));
      await mkdir(copy);
      const nothing = { files: [], openForWriting: [], mounts: [] };
      await writeFile(
        `${copy}/copy.json`,
        JSON.stringify({ version: 1, archive: "a".repeat(64), engine: "containerd", ...nothing }),
      );
      await utimes(copy, new Date(), new Date(Date.now() - 60_000));
      await stage.until("the operator to tell of the copy", async () => {
        const { status } = await stage.client.get(checkpoints, far.metadata);
        return status?.copies?.some((place) => place.node === NODE);
      });

      await stage.restored(cache, 3, {
        checkpoint: "far",
        uid: far.metadata.uid ?? "",
        copy: "a".repeat(64),
        takenTime: far.spec.checkpointTimestamp,
        containerID: "elsewhere",
      });
      await stage.until("the operator to count the restore", async () => {
        const { status } = await stage.client.get(checkpoints, far.metadata);
        return status?.restoredCount === 1;
      });

      await stage.client.delete(nodes, { name: OTHER_NODE });
      await stage.until("the lost one to be told", async () => {
        const { status } = await stage.client.get(checkpoints, named("far-lost"));
        return (
          status?.phase === "Failed" && findCondition(status.conditions, "Restorable")?.reason === "NodeLost"
        );
      });
    });

    it("leave nothing over of a workload that goes", async () => {
      await stage.until(
        "a download to be over",
        async () => (await stage.client.get(downloads, named("brief")).catch(absent)) === undefined,
      );
      // None was dumped twice because somebody had not heard of the end of it.
      const own = await Promise.all([web, cache].map(of));
      expect(stage.dumped.filter((pod) => pod !== "late")).toHaveLength(own.flat().length);
      const all = (await stage.client.list(checkpoints, { namespace: stage.namespace })).items;
      for (const name of ["web", "cache"]) {
        await annotate(name, null);
        await stage.until(
          `schedule ${name} to go`,
          async () => (await stage.client.get(schedules, named(name)).catch(absent)) === undefined,
        );
      }
      for (const { metadata } of (await stage.client.list(restores, { namespace: stage.namespace })).items)
        await stage.client.delete(restores, metadata);
      for (const { metadata } of (await stage.client.list(requests, { namespace: stage.namespace })).items)
        await stage.client.delete(requests, metadata);
      for (const { metadata } of all) await stage.client.delete(checkpoints, metadata);
      await stage.until(
        "all Checkpoints to go",
        async () => (await stage.client.list(checkpoints, { namespace: stage.namespace })).items.length === 0,
      );
      for (const pod of [web, cache])
        await stage.client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
      await stage.until(
        "what was kept for the pods to go",
        async () =>
          [...(await readdir(stage.layout.plans)), ...(await readdir(stage.layout.runs))].length === 0,
      );
      expect(await readdir(stage.archives)).toEqual([]);
      for (const checkpoint of all) {
        if (checkpoint.status?.imageDigest !== undefined)
          expect(await stage.manifest(checkpoint)).toBeUndefined();
      }
    });

    it("end when they are told to", async () => {
      await stage.end();
      expect(stage.broken).toEqual([]);
    });

    it.each([
      ["operator", OPERATOR_CRASH_POINTS],
      ["agent", AGENT_CRASH_POINTS],
    ] as const)(
      "%s: were killed at each point of the list, and write nothing that is not on it",
      async (program, points) => {
        const killed = (await stage.killed(program)).filter(
          (moment) => !OCCASIONAL.some((one) => one.test(moment.replace(/^\w+ /, ""))),
        );
        const wanted = Object.keys(points).flatMap((point) => [`before ${point}`, `after ${point}`]);
        expect(killed.sort()).toEqual(wanted.sort());
      },
    );
  },
);

it("every file of operator and agent that writes is on the list of crash points, or beside it for a reason", async () => {
  const root = join(import.meta.dirname, "../../src");
  const points = [...Object.keys(OPERATOR_CRASH_POINTS), ...Object.keys(AGENT_CRASH_POINTS)];
  const named = new Set([...points.map((point) => point.split(" ")[0]), ...Object.keys(BESIDE)]);
  const writing: string[] = [];
  for (const program of ["operator", "agent"]) {
    for (const name of await readdir(join(root, program), { recursive: true })) {
      if (!name.endsWith(".ts") || name.endsWith(".test.ts")) continue;
      if (WRITES.test(await readFile(join(root, program, name), "utf8")))
        writing.push(`${program}/${name.replace(/\.ts$/, "")}`);
    }
  }
  const isNamed = (file: string) =>
    [...named].some((one) => one === file || (one?.endsWith("/") && file.startsWith(one)));
  expect(writing.filter((file) => !isNamed(file))).toEqual([]);
});
