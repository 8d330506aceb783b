import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { installCrds } from "../../../test/support/crds.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { installRuntimeClasses } from "../../../test/support/runtime-classes.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { type Checkpoint, type CheckpointStatus, POISONED, RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { checkpoints, restores, schedules } from "../../api/kinds.ts";
import { reportsOf } from "../../api/reports.ts";
import type { CheckpointRestore, RestoreStatus } from "../../api/restore.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { settings } from "../../api/settings.ts";
import { Client } from "../../kube/client.ts";
import { silent } from "../../kube/log.ts";
import { deployments, events, type KubeObject, type Pod, pods } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { COPY_INDEX, COPY_VERSION, CORRUPT_MARK, type CopyIndex, SPEC_DUMP } from "../../store/copy.ts";
import { Layout } from "../../store/layout.ts";
import { NOTE_VERSION, type Note } from "../../store/notes.ts";
import { type Candidate, type Plan, parsePlan } from "../../store/plan.ts";
import { formatLast, LAST, type RunState, STATE, STATE_VERSION } from "../../store/runs.ts";
import { type Agent, createAgent } from "../agent.ts";
import { fixedToken } from "../token/token.ts";

const kubeconfig = inject("kubeconfig");
/** The agent on a real API server; what the handler leaves in kcr's directory is written by the test. */
describe.skipIf(kubeconfig === undefined)("the agent beside a handler played by the test", () => {
  let client: Client;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    await installRuntimeClasses(client);
  });

  let directory: string;
  let layout: Layout;
  let namespace: string;
  let node: string;
  let stop: AbortController;
  let running: Promise<void> | undefined;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-plans-"));
    layout = new Layout(join(directory, "kcr"));
    namespace = await makeNamespace(client, "shop");
    node = `node-of-${namespace}`;
  });
  afterEach(async () => {
    await stopAgent();
    await rm(directory, { recursive: true });
  });

  async function startAgent(): Promise<Agent> {
    stop = new AbortController();
    const agent = createAgent({
      node,
      client,
      settings: settings.parse({
        store: "node",
        local: { directory: layout.root, perContainer: 16 },
        kubelet: { checkpointDirectory: join(directory, "checkpoints") },
        restore: { stableSeconds: 7 },
      }),
      kubelet: { host: "127.0.0.1", port: 1, caFile: "/none", token: fixedToken("none") },
      log: silent,
      now: () => new Date(),
    });
    running = agent.run(stop.signal);
    running.catch(() => {});
    await waitFor("the agent's caches", () => agent.ready());
    return agent;
  }
  async function stopAgent(): Promise<void> {
    stop?.abort();
    await running;
    running = undefined;
  }

  /** Writes a file as the handler does: whole. */
  async function put(path: string, text: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(`${path}.1`, text);
    await rename(`${path}.1`, path);
  }
  const keyOf = (pod: Pod, container = "app") => ({ podUID: pod.metadata.uid ?? "", container });
  /** A container was created. */
  const created = (pod: Pod, id: string, container = "app") =>
    put(
      join(layout.run(keyOf(pod, container)), LAST),
      formatLast({ id, sandbox: "s1", createdMs: Date.now() }),
    );
  /** A container was restored: `created` follows. */
  const restoredAs = (pod: Pod, id: string, from: Candidate, more: Partial<RunState> = {}) =>
    put(
      join(layout.run(keyOf(pod)), STATE),
      JSON.stringify({
        version: STATE_VERSION,
        chain: ["c0", id],
        restoredFrom: from,
        crashes: {},
        passedOver: [],
        used: [],
        ...more,
      } satisfies RunState),
    );
  let notes = 0;
  async function note(pod: Pod, what: object): Promise<Note> {
    const time = new Date();
    const whole = {
      version: NOTE_VERSION,
      podUID: pod.metadata.uid,
      namespace,
      pod: pod.metadata.name,
      container: "app",
      containerID: `n${++notes}`,
      time: time.toISOString(),
      cause: "exit code 137",
      failed: [],
      ...what,
    } as unknown as Note;
    await put(
      join(layout.notes(keyOf(pod)), `${time.getTime()}-${whole.containerID}.json`),
      JSON.stringify(whole),
    );
    return whole;
  }
  const notesLeft = async (pod: Pod): Promise<string[]> => await readdir(layout.notes(keyOf(pod)));

  const digestOf = (name: string): string => Buffer.from(name).toString("hex").padEnd(64, "0");
  /** Unpacked on the node. */
  const copied = (name: string) => {
    const archive = digestOf(name);
    const nothing = { files: [], openForWriting: [], mounts: [] };
    const index = { version: COPY_VERSION, archive, engine: "containerd", ...nothing } satisfies CopyIndex;
    return put(join(layout.copy(archive), COPY_INDEX), JSON.stringify(index));
  };

  async function makePod(name: string, metadata: object = {}, spec: object = {}): Promise<Pod> {
    const pod = await client.create(pods, {
      metadata: { name, namespace, labels: { app: "cache" }, ...metadata },
      spec: {
        nodeName: node,
        runtimeClassName: "kcr",
        containers: [{ name: "app", image: "app:1" }],
        ...spec,
      },
    } as Pod);
    return await writeStatus(client, pods, pod, { phase: "Running" });
  }
  async function schedule(restore: object = {}, owner?: KubeObject): Promise<CheckpointSchedule> {
    return await client.create(schedules, {
      metadata: {
        name: "cache",
        namespace,
        ...(owner && {
          ownerReferences: [
            {
              apiVersion: "apps/v1",
              kind: "Deployment",
              name: owner.metadata.name,
              uid: owner.metadata.uid ?? "",
              controller: true,
            },
          ],
        }),
      },
      spec: { schedule: "0 0 1 1 *", selector: { matchLabels: { app: "cache" } }, restore },
    });
  }
  /** A good one, with a copy, unless said. */
  async function checkpoint(
    name: string,
    pod: Pod,
    {
      at = 0,
      run = "c0",
      of = node,
      ...status
    }: Partial<CheckpointStatus> & { at?: number; run?: string; of?: string } = {},
    copy = true,
  ): Promise<Checkpoint> {
    if (copy) await copied(name);
    const made = await client.create(checkpoints, {
      metadata: { name, namespace },
      spec: {
        checkpointData: `checkpoint-${name}.tar`,
        checkpointTimestamp: new Date(Date.parse("2026-01-01T12:00:00Z") + at * 1000).toISOString(),
        checkpointID: name,
        containerName: "app",
        nodeName: of,
        checkpointScheduleRef: { name: "cache" },
      },
    });
    return await writeStatus(client, checkpoints, made, {
      phase: "Failed",
      handler: "kcr",
      digest: `sha256:${digestOf(name)}`,
      lineage: { podUID: pod.metadata.uid ?? "", containerID: run, restartCount: 0 },
      conditions: [condition(RESTORABLE)],
      ...status,
    });
  }
  const condition = (type: string) => ({
    type,
    status: "True" as const,
    reason: "Test",
    message: "",
    lastTransitionTime: new Date().toISOString(),
  });
  const candidate = ({ metadata, spec, status }: Checkpoint): Candidate => ({
    checkpoint: metadata.name,
    uid: metadata.uid ?? "",
    copy: digestOf(metadata.name),
    takenTime: spec.checkpointTimestamp,
    containerID: status?.lineage?.containerID ?? "",
  });

  const planOf = async (pod: Pod, container = "app"): Promise<Plan | undefined> => {
    try {
      return parsePlan(await readFile(layout.plan(keyOf(pod, container)), "utf8"));
    } catch {
      return undefined;
    }
  };
  const planned = (pod: Pod, what: string, is: (plan: Plan) => boolean, container = "app"): Promise<Plan> =>
    waitFor(`a plan ${what}`, async () => {
      const plan = await planOf(pod, container);
      return plan !== undefined && is(plan) && plan;
    });
  const withCandidates = (pod: Pod, ...names: string[]): Promise<Plan> =>
    planned(
      pod,
      `with ${names.join(", ") || "no candidate"}`,
      ({ candidates }) => candidates.map((c) => c.checkpoint).join() === names.join(),
    );

  describe("plans", () => {
    it("follow the run, what is good, and what has a copy", async () => {
      await startAgent();
      await schedule();
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      const first = await withCandidates(pod);
      expect(first).toMatchObject({
        run: "c0",
        onFailure: true,
        stableSeconds: 7,
        pod: "cache-0",
        namespace,
      });

      await checkpoint("one", pod);
      await withCandidates(pod, "one");
      await checkpoint("two", pod, { at: 60 }, false);
      await checkpoint("three", pod, { at: 120, conditions: [] });
      expect((await withCandidates(pod, "one")).run).toBe("c0");
      await copied("two");
      await withCandidates(pod, "two", "one");
      await put(join(layout.copy(digestOf("one")), CORRUPT_MARK), "bit flip");
      await withCandidates(pod, "two");

      await created(pod, "c1");
      expect((await withCandidates(pod)).run).toBe("c1");
    });

    it("stay as they are while a handler of a later version knows where the run came from, which is told", async () => {
      await schedule();
      const pod = await makePod("cache-0");
      await checkpoint("one", pod);
      const plan = JSON.stringify({ version: 99, fallback: "Fail", of: "a later agent" });
      await put(layout.plan(keyOf(pod)), plan);
      await put(join(layout.run(keyOf(pod)), STATE), JSON.stringify({ version: 99 }));
      await created(pod, "c1");
      await startAgent();
      const note = await waitFor("an Event on the pod", async () => {
        const { items } = await client.list(events, { namespace });
        return items.find((e) => e.reason === "ProtocolUnknown" && e.regarding?.name === "cache-0")?.note;
      });
      expect(note).toContain("what the handler remembers of container app is of protocol 99");
      expect(await readFile(layout.plan(keyOf(pod)), "utf8")).toBe(plan);

      // A handler that this agent knows has begun it afresh.
      await rm(join(layout.run(keyOf(pod)), STATE));
      await created(pod, "c0");
      await withCandidates(pod, "one");
    });

    it("of a restored run go on with what it came from", async () => {
      const pod = await makePod("cache-0");
      const other = await makePod("cache-other");
      await schedule();
      const older = await checkpoint("older", pod);
      const parent = await checkpoint("parent", pod, { at: 60 });
      await checkpoint("newer", pod, { at: 120 });
      await restoredAs(pod, "c1", candidate(parent));
      await created(pod, "c1");
      await startAgent();
      await withCandidates(pod, "parent", "older");
      await restoredAs(pod, "c1", candidate(parent), { passedOver: [older.metadata.uid ?? ""] });
      await withCandidates(pod, "parent");

      const foreign = await checkpoint("foreign", other, { run: "o1" });
      await restoredAs(pod, "c2", candidate(foreign));
      await created(pod, "c2");
      await withCandidates(pod, "foreign");
    });

    it("leave out what does not fit the node, and say so once on pod and workload", async () => {
      const owner = await client.create(deployments, {
        metadata: { name: "cache", namespace },
        spec: {
          selector: { matchLabels: { app: "cache" } },
          template: {
            metadata: { labels: { app: "cache" } },
            spec: { containers: [{ name: "app", image: "app:1" }] },
          },
        },
      });
      await schedule({}, owner);
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      await checkpoint("one", pod);
      const far = await checkpoint("far", pod, { at: 60, environment: { cpuFeatures: "no_such_flag" } });
      await startAgent();
      await withCandidates(pod, "one");
      const told = () =>
        waitFor("both Events", async () => {
          const { items } = await client.list(events, { namespace });
          const of = items.filter((e) => e.reason === "NodeDiffers");
          return of.length >= 2 && of;
        });
      const first = await told();
      expect(first.map((e) => e.regarding?.kind).sort()).toEqual(["Deployment", "Pod"]);
      expect(first[0]?.note).toContain(
        "CPU features (no_such_flag at the checkpoint, none of these on the node)",
      );

      await stopAgent();
      await startAgent();
      await writeStatus(client, checkpoints, await client.get(checkpoints, far.metadata), {
        environment: undefined,
      });
      await withCandidates(pod, "far", "one");
      expect((await told()).map((e) => e.metadata.uid)).toEqual(first.map((e) => e.metadata.uid));
    });

    it("are there again after the agent was killed, and its directory lost", async () => {
      await schedule();
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      await checkpoint("one", pod);
      await startAgent();
      await withCandidates(pod, "one");
      await stopAgent();
      await rm(layout.plans, { recursive: true });
      await startAgent();
      await withCandidates(pod, "one");
    });

    it("go with the protection, and with the pod", async () => {
      await startAgent();
      const made = await schedule();
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      await withCandidates(pod);
      await client.delete(schedules, made.metadata);
      await waitFor("the plan to go", async () => (await planOf(pod)) === undefined);

      await schedule();
      await withCandidates(pod);
      await client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
      await waitFor("everything of the pod to go", async () => {
        const left = [...(await readdir(layout.plans)), ...(await readdir(layout.runs))];
        return left.length === 0;
      });
    });

    it("of a pod that is not of class kcr there are none", async () => {
      await startAgent();
      await schedule();
      const plain = await makePod("plain", {}, { runtimeClassName: undefined });
      const pod = await makePod("cache-0");
      await created(plain, "c0");
      await created(pod, "c0");
      await withCandidates(pod);
      expect(await planOf(plain)).toBeUndefined();
    });
  });

  describe("a CheckpointRestore", () => {
    async function wish(pod: Pod, name: string, status: RestoreStatus = {}): Promise<CheckpointRestore> {
      const made = await client.create(restores, {
        metadata: { name: `back-to-${name}`, namespace },
        spec: { checkpointName: name, podReference: { name: pod.metadata.name }, containerName: "app" },
      });
      return await writeStatus(client, restores, made, {
        phase: "Restoring",
        strategy: "Runtime",
        nodeName: node,
        podUID: pod.metadata.uid,
        containerName: "app",
        ...status,
      });
    }
    const conditionOf = (restore: CheckpointRestore, type: string) =>
      waitFor(`condition ${type}`, async () =>
        findCondition((await client.get(restores, restore.metadata)).status?.conditions, type),
      );

    it("is armed in the plan before it says so, answered by the handler's note, and disarmed when it ends", async () => {
      await startAgent();
      const pod = await makePod("cache-0");
      await created(pod, "c1");
      const old = await checkpoint("old", pod, { conditions: [condition(RESTORABLE), condition(POISONED)] });
      const restore = await wish(pod, "old");
      expect(await conditionOf(restore, "Armed")).toMatchObject({ status: "True" });
      expect(await planOf(pod)).toMatchObject({
        onFailure: false,
        armed: { id: restore.metadata.uid, candidate: candidate(old) },
      });

      await note(pod, {
        type: "restored",
        checkpoint: "old",
        checkpointUID: old.metadata.uid,
        ageMs: 1000,
        tookMs: 1,
        cause: "asked for",
        armed: restore.metadata.uid,
      });
      expect(await conditionOf(restore, "Restored")).toMatchObject({ status: "True", reason: "Restored" });
      await writeStatus(client, restores, await client.get(restores, restore.metadata), {
        phase: "Completed",
      });
      await waitFor("the plan to go", async () => (await planOf(pod)) === undefined);
    });

    it("of a Checkpoint without a copy on the node is not armed, and says why", async () => {
      await startAgent();
      const pod = await makePod("cache-0");
      await checkpoint("gone", pod, {}, false);
      const restore = await wish(pod, "gone");
      expect((await conditionOf(restore, "Armed")).status).toBe("False");
    });

    it.each<[string, RestoreStatus]>([
      ["of another node", { nodeName: "elsewhere" }],
      ["that is not begun", { phase: "SavingCurrent" }],
      ["that the operator does by an image", { strategy: "Image" }],
    ])("%s is not armed", async (_, status) => {
      await schedule();
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      await checkpoint("old", pod);
      await wish(pod, "old", status);
      await startAgent();
      expect((await withCandidates(pod, "old")).armed).toBeUndefined();
    });

    it("is what a pod waits for that is to begin with a state; its other containers need not wait", async () => {
      await startAgent();
      await schedule();
      const old = await checkpoint("old", await makePod("before"));
      const pod = await makePod(
        "cache-0",
        { annotations: { "kcr.io/restore-from": "old" } },
        {
          initContainers: [{ name: "init", image: "i" }],
          containers: ["app", "side"].map((name) => ({ name, image: name })),
        },
      );
      const bystander = await makePod("cache-1");
      await created(bystander, "c0");
      await withCandidates(bystander);
      expect(await planOf(pod)).toBeUndefined();
      const restore = await wish(pod, "old");
      expect(await planned(pod, "that is armed", ({ armed }) => armed !== undefined)).toMatchObject({
        run: "",
        armed: { id: restore.metadata.uid, candidate: candidate(old) },
      });
      for (const container of ["side", "init"]) {
        const plan = await planned(pod, `of ${container}`, () => true, container);
        expect(plan).toMatchObject({ run: "", onFailure: false, candidates: [] });
      }
    });
  });

  describe("notes", () => {
    const told = (reason: string, count: number) =>
      waitFor(`${count} Events ${reason}`, async () => {
        const { items } = await client.list(events, { namespace });
        const found = items.filter((e) => e.reason === reason);
        return found.length >= count && found;
      });

    it("are told on the pod, its workload and the Checkpoint, and then go", async () => {
      await startAgent();
      const deployment = await client.create(deployments, {
        metadata: { name: "cache", namespace },
        spec: {
          selector: { matchLabels: { app: "cache" } },
          template: {
            metadata: { labels: { app: "cache" } },
            spec: { containers: [{ name: "a", image: "a" }] },
          },
        },
      });
      await schedule({}, deployment);
      const pod = await makePod("cache-0");
      const one = await checkpoint("one", pod);
      const bad = await checkpoint("bad", pod, { at: 60 });
      await created(pod, "c0");
      await withCandidates(pod, "bad", "one");
      await note(pod, {
        type: "restored",
        checkpoint: "one",
        checkpointUID: one.metadata.uid,
        ageMs: 42_000,
        tookMs: 130,
        failed: [
          {
            checkpoint: "bad",
            checkpointUID: bad.metadata.uid,
            code: "CheckpointPoisoned",
            message: "it crashed 3 times",
            poisoned: true,
            corrupt: false,
          },
        ],
      });
      const restored = await told("Restored", 2);
      expect(restored.map(({ regarding }) => `${regarding?.kind} ${regarding?.name}`).sort()).toEqual([
        "Deployment cache",
        "Pod cache-0",
      ]);
      for (const { note } of restored) expect(note).toContain("exit code 137");
      for (const { note } of restored) expect(note).toContain("Checkpoint one: its state is 42 s old");
      await told("RestoreFailed", 2);
      await waitFor("the note to go", async () => (await notesLeft(pod)).length === 0);

      const { conditions } = (await client.get(pods, pod.metadata)).status ?? {};
      expect(conditions?.find((c) => c.type === "kcr.io/Restored")).toMatchObject({
        status: "True",
        reason: "Restored",
      });
      expect((await client.get(checkpoints, one.metadata)).status?.restoredCount).toBe(1);
      const poisoned = (await client.get(checkpoints, bad.metadata)).status;
      expect(findCondition(poisoned?.conditions, POISONED)?.status).toBe("True");
      await withCandidates(pod, "one");
    });

    it("are told also when the node says nothing of a change", async () => {
      await startAgent();
      await rm(layout.runs, { recursive: true });
      const pod = await makePod("cache-0");
      await note(pod, { type: "fresh", reason: "PlanMissing", message: "no plan came", lost: true });
      await told("StartedFresh", 1);
      await waitFor("the note to go", async () => (await notesLeft(pod)).length === 0);
    });

    it("told a second time, by an agent that was killed before it could remove them, count once", async () => {
      await schedule();
      const pod = await makePod("cache-0");
      const one = await checkpoint("one", pod);
      await startAgent();
      const restored = {
        type: "restored",
        checkpoint: "one",
        checkpointUID: one.metadata.uid,
        ageMs: 1,
        tookMs: 1,
      };
      const first = await note(pod, restored);
      await waitFor("the note to go", async () => (await notesLeft(pod)).length === 0);
      await note(pod, { ...restored, containerID: first.containerID, time: first.time });
      await note(pod, { ...restored, time: new Date(Date.parse(first.time) + 5000).toISOString() });
      await waitFor("the notes to go", async () => (await notesLeft(pod)).length === 0);
      expect((await client.get(checkpoints, one.metadata)).status?.restoredCount).toBe(2);
      expect(await told("Restored", 2)).toHaveLength(2);
    });

    it("of a Checkpoint of another node are told on the pod, for the operator: the agent may not write it", async () => {
      await schedule();
      const pod = await makePod("cache-0");
      const far = await checkpoint("far", pod, { of: "another" });
      await startAgent();
      const { checkpoint: name, checkpointUID } = { checkpoint: "far", checkpointUID: far.metadata.uid };
      const failure = { checkpoint: name, checkpointUID, code: "CheckpointPoisoned", message: "it crashed" };
      await note(pod, { type: "restored", checkpoint: name, checkpointUID, ageMs: 1, tookMs: 1 });
      await note(pod, {
        type: "fresh",
        reason: "CheckpointPoisoned",
        message: "m",
        lost: true,
        failed: [{ ...failure, poisoned: true, corrupt: false }],
      });
      await waitFor("the notes to go", async () => (await notesLeft(pod)).length === 0);
      const reports = reportsOf(await client.get(pods, pod.metadata));
      expect(reports.sort((a, b) => a.what.localeCompare(b.what))).toMatchObject([
        { what: "poisoned", checkpointUID, message: expect.stringContaining("it crashed") },
        { what: "restored", checkpointUID },
      ]);
      expect((await client.get(checkpoints, far.metadata)).metadata.resourceVersion).toBe(
        far.metadata.resourceVersion,
      );
    });

    it("left while no agent was there are told by the next, also of a pod that is gone, before it is forgotten", async () => {
      const pod = await makePod("cache-0");
      await created(pod, "c0");
      await note(pod, {
        type: "fresh",
        reason: "SpecChanged",
        message: "environment variable MODE differs",
        lost: true,
      });
      await mkdir(layout.ids, { recursive: true });
      await symlink(`${pod.metadata.uid}/app`, layout.id("c0"));
      await symlink("another/app", layout.id("d0"));
      await put(join(layout.work("c0"), "restored"), "");
      await client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
      await startAgent();
      const [event] = await told("StartedFresh", 1);
      expect(event?.note).toContain("environment variable MODE differs");
      await waitFor("everything of the pod to go", async () => (await readdir(layout.runs)).length === 0);
      expect(await readdir(layout.ids)).toEqual(["d0"]);
      expect(await readdir(dirname(layout.work("c0")))).toEqual([]);
    });

    it("of a handler of a later version are told as such, once, and stay for the agent that knows them until their pod is gone", async () => {
      const pod = await makePod("cache-0");
      await put(join(layout.notes(keyOf(pod)), "1-x.json"), JSON.stringify({ version: 99, said: "else" }));
      await startAgent();
      const [event] = await told("ProtocolUnknown", 1);
      expect(event?.regarding).toMatchObject({ kind: "Pod", name: "cache-0" });
      expect(event?.note).toContain("what the handler says of container app is of protocol 99");
      await note(pod, { type: "refused", reason: "CopyCorrupt", message: "m" });
      await told("RestoreRefused", 1);
      await waitFor("the other to go", async () => (await notesLeft(pod)).length === 1);
      expect(await told("ProtocolUnknown", 1)).toHaveLength(1);
      await client.delete(pods, pod.metadata, { gracePeriodSeconds: 0 });
      await waitFor("everything of the pod to go", async () => (await readdir(layout.runs)).length === 0);
    });

    it("that cannot be read are dropped, and hold up no other", async () => {
      const pod = await makePod("cache-0");
      await put(join(layout.notes(keyOf(pod)), "1-x.json"), "{");
      await startAgent();
      await note(pod, { type: "refused", reason: "CopyCorrupt", message: "m" });
      await told("RestoreRefused", 1);
      await waitFor("both to go", async () => (await notesLeft(pod)).length === 0);
    });
  });

  describe("a new pod that is given something else than those before it", () => {
    const started = (pod: Pod) =>
      writeStatus(client, pods, pod, {
        phase: "Running",
        containerStatuses: [
          {
            name: "app",
            image: "app:1",
            imageID: "app@sha256:1",
            ready: true,
            restartCount: 0,
            containerID: "containerd://c9",
            state: { running: { startedAt: new Date().toISOString() } },
          },
        ],
      });

    it("says once by which variable", async () => {
      await startAgent();
      await schedule();
      const made = await checkpoint("old", await makePod("cache-old"), {
        baseImage: "app:1",
        specHash: "sha256:of-before",
      });
      await put(
        join(layout.copy(digestOf("old")), SPEC_DUMP),
        JSON.stringify({ process: { args: [], env: ["MODE=fast"] }, mounts: [] }),
      );
      expect(made.spec.checkpointScheduleRef?.name).toBe("cache");
      const env = [{ name: "MODE", value: "slow and secret" }];
      const pod = await makePod("cache-new", {}, { containers: [{ name: "app", image: "app:1", env }] });
      await created(pod, "c9");
      await started(pod);
      const [event, ...more] = await waitFor("the Event", async () => {
        const { items } = await client.list(events, { namespace });
        const found = items.filter((e) => e.reason === "SpecChanged");
        return found.length > 0 && found;
      });
      expect(more).toEqual([]);
      expect(event?.regarding?.name).toBe("cache-new");
      expect(event?.note).toContain("environment variable MODE");
      expect(event?.note).not.toContain("slow");
    });
  });
});
