import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it, onTestFailed } from "vitest";
import { stringify } from "yaml";
import { DOWNLOAD_USAGES, TRANSFER_AUTHORITY, TRANSFER_SIGNER } from "../../src/api/agent-certificate.ts";
import { ARCHIVE_FINALIZER, type Checkpoint, RESTORABLE } from "../../src/api/checkpoint.ts";
import { type CheckpointDownload, DOWNLOAD_ACCOUNT, DOWNLOAD_NAMESPACE } from "../../src/api/download.ts";
import {
  checkpoints,
  clusterRetentions,
  downloads,
  requests,
  restores,
  retentions,
  schedules,
} from "../../src/api/kinds.ts";
import { SCHEDULE_ANNOTATION, SLOT_ANNOTATION } from "../../src/api/labels.ts";
import { NODES_NAMESPACE, nodeRoleName } from "../../src/api/node-account.ts";
import type { CheckpointRequest } from "../../src/api/request.ts";
import type { CheckpointRestore } from "../../src/api/restore.ts";
import type { CheckpointSchedule } from "../../src/api/schedule.ts";
import { createRequest } from "../../src/kube/certificates.ts";
import { Client } from "../../src/kube/client.ts";
import {
  certificateSigningRequests,
  configMaps,
  daemonSets,
  deployments,
  jobs,
  type KubeObject,
  leases,
  mutatingWebhookConfigurations,
  namespaces,
  nodes,
  pods,
  type Resource,
  secrets,
  statefulSets,
} from "../../src/kube/resources.ts";
import { PROBE_LABEL } from "../../src/operator/restore/pull-probe.ts";
import { CONFIGURATION, WEBHOOK } from "../../src/operator/webhook/rotation.ts";
import { WRITES } from "../../src/operator/writes.ts";
import { DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION } from "../../src/transfer/identity.ts";
import { type ApiServer, startApiServer } from "../support/apiserver.ts";
import { installCrds } from "../support/crds.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";
import { waitFor } from "../support/wait-for.ts";
import type { Written } from "./proxy.ts";
import { Hold, Replica } from "./replica.ts";
import { isFenced, kindOf, kindOfEntry, targetOf } from "./written.ts";

const SYSTEM = "kcr-system";
const TEAM = "team";
const NODE = "node-1";
const RARELY = "0 0 1 1 *";
const LEASE = { namespace: SYSTEM, name: "kcr-operator" };
/** How soon another has to lead. */
const LIMIT_MS = 20_000;
const SOON = { intervalMs: 50, timeoutMs: 40_000 };

/** A write of the leader's that is held on its way until another leads and has done the same. */
interface Scene {
  /** Its kind. */
  write: string;
  /** The name of what is written. */
  name?: string | RegExp;
  is?: (body: never) => boolean;
  /** Makes the leader decide on it. */
  provoke?: () => Promise<unknown>;
  /** What comes about after the new leader has done it too. */
  meanwhile?: () => Promise<unknown>;
}

/** What the test itself has undone, so that it is done again. */
const UNDONE = new Set<string | undefined>([CONFIGURATION, "batch-job"]);

const succeeded = ({ status = 0 }: Written): boolean => status >= 200 && status < 300;
/** A pull probe: each leader asks anew, and makes no other pods. */
const isQuestion = (write: Written): boolean =>
  write.url.includes("kcr-pull-probe") || /\/pods$/.test(write.url);

describe.skipIf(inject("whyNotApiServer"))("of the operator's replicas", { timeout: 180_000 }, () => {
  let server: ApiServer;
  let registry: TestRegistry;
  let client: Client;
  let directory: string;
  let config: string;
  const replicas: Replica[] = [];
  const holds: Hold[] = [];
  const fenced = new Set<string>();

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-fencing-"));
    [server, registry] = await Promise.all([startApiServer(), startRegistry()]);
    client = Client.fromConfig({ kubeconfig: server.kubeconfig });
    await installCrds(client);
    for (const name of [SYSTEM, NODES_NAMESPACE, DOWNLOAD_NAMESPACE, TEAM]) {
      await client.create(namespaces, { metadata: { name } });
    }
    config = join(directory, "config.yaml");
    await writeFile(config, stringify({ registry: { push: registry.address, plainHttp: true } }));
    await readyNode(NODE);
    await client.create(mutatingWebhookConfigurations, {
      metadata: { name: CONFIGURATION },
      webhooks: [
        {
          name: "pods.kcr.io",
          admissionReviewVersions: ["v1"],
          sideEffects: "None",
          clientConfig: { service: { namespace: SYSTEM, name: WEBHOOK } },
          rules: [],
        },
      ],
    });
    await schedule("due", "web");
    await schedule("noting", "noted");
    for (const name of ["web", "asked"]) await runningPod(name);
    await workload(daemonSets, "keeper", RARELY);
    await workload(jobs, "batch", RARELY);
  });
  afterAll(async () => {
    for (const hold of holds) hold.release();
    await Promise.all(replicas.map((replica) => replica[Symbol.asyncDispose]()));
    client?.close();
    await registry?.stop();
    await server?.stop();
    if (directory !== undefined) await rm(directory, { recursive: true });
  });

  // Each goes on where the one before has ended.
  let isBroken = false;
  beforeEach(({ skip }) => {
    if (isBroken) skip();
    onTestFailed(() => {
      isBroken = true;
    });
  });

  const named = (name: string) => ({ namespace: TEAM, name });
  const make = <T extends KubeObject>(resource: Resource<T>, name: string, spec: unknown, metadata = {}) =>
    client.create(resource, {
      metadata: { ...(resource.namespaced ? { namespace: TEAM } : {}), name, ...metadata },
      spec,
    } as never);
  const setStatus = (resource: Resource, name: string, status: object) =>
    client.patch(resource, named(name), { type: "merge", body: { status } }, { subresource: "status" });

  async function readyNode(name: string): Promise<void> {
    await client.create(nodes, { metadata: { name } });
    const nodeInfo = { architecture: "amd64", containerRuntimeVersion: "containerd://2.3.1" };
    const body = { status: { conditions: [{ type: "Ready", status: "True" }], nodeInfo } };
    await client.patch(nodes, { name }, { type: "strategic", body }, { subresource: "status" });
  }
  const schedule = (name: string, app: string) =>
    make<CheckpointSchedule>(schedules, name, { schedule: RARELY, selector: { matchLabels: { app } } });
  async function runningPod(app: string): Promise<void> {
    const container = { name: "app", image: "app:1" };
    const spec = { nodeName: NODE, containers: [container] };
    await make(pods, `${app}-0`, spec, { labels: { app } });
    const containerStatuses = [
      {
        ...container,
        ...{ containerID: `containerd://${app}`, imageID: "", ready: true, restartCount: 0 },
        state: { running: { startedAt: new Date().toISOString() } },
      },
    ];
    await setStatus(pods, `${app}-0`, { phase: "Running", containerStatuses });
  }
  /** A workload of that kind without pods: nobody makes any here. */
  const workload = (resource: Resource, name: string, cron: string) => {
    const template = { spec: { restartPolicy: "Never", containers: [{ name: "app", image: "app:1" }] } };
    const labels = { app: name };
    const spec =
      resource === jobs
        ? { template }
        : {
            selector: { matchLabels: labels },
            template: { metadata: { labels }, spec: { containers: template.spec.containers } },
            ...(resource === statefulSets ? { serviceName: name } : {}),
          };
    return make(resource, name, spec, { annotations: { [SCHEDULE_ANNOTATION]: cron } });
  };
  const annotate = (resource: Resource, name: string, cron: string | null) =>
    client.patch(resource, named(name), {
      type: "merge",
      body: { metadata: { annotations: { [SCHEDULE_ANNOTATION]: cron } } },
    });
  const checkpoint = (name: string, nodeName: string, finalizers: string[] = []): Promise<Checkpoint> =>
    make<Checkpoint>(
      checkpoints,
      name,
      {
        checkpointData: `${name}.tar`,
        checkpointTimestamp: "2026-01-01T12:00:00Z",
        checkpointID: name,
        containerName: "app",
        nodeName,
      },
      { finalizers },
    );
  async function certificateRequest(name: string): Promise<void> {
    const account = `system:serviceaccount:${DOWNLOAD_NAMESPACE}:${DOWNLOAD_ACCOUNT}`;
    const own = Client.fromConfig({ kubeconfig: await server.userKubeconfig(account, ["system:masters"]) });
    const subject = { commonName: DOWNLOAD_NAME, organizations: [DOWNLOAD_ORGANIZATION] };
    const request = Buffer.from(createRequest(subject).request).toString("base64");
    await own.create(certificateSigningRequests, {
      metadata: { name },
      spec: { request, signerName: TRANSFER_SIGNER, usages: DOWNLOAD_USAGES },
    });
    own.close();
  }
  const download = (name: string, ttlSeconds: number) =>
    make<CheckpointDownload>(downloads, name, {
      checkpointName: "nowhere",
      publicKey: `x25519:${"A".repeat(43)}`,
      ttlSeconds,
    });

  async function start(): Promise<Replica> {
    const name = `operator-${replicas.length}`;
    const { kubeconfig } = server;
    const replica = await Replica.start({ name, directory, kubeconfig, config, namespace: SYSTEM, holds });
    replicas.push(replica);
    return replica;
  }
  const leaderName = async (): Promise<string> => {
    const { spec } = await client.get(leases, LEASE);
    return spec?.holderIdentity?.split("_")[0] ?? "";
  };
  const arm = ({ write, name, is = () => true }: Scene, except?: Replica): Hold => {
    const hold = new Hold((asked, by) => {
      if (by === except) return false;
      const target = targetOf(asked);
      const isNamed =
        typeof name === "object" ? name.test(target.name ?? "") : (name ?? target.name) === target.name;
      return kindOf(target) === write && isNamed && is(asked.body as never);
    });
    holds.push(hold);
    return hold;
  };
  const isSame = (a: Written, b: Written): boolean => {
    const [one, other] = [targetOf(a), targetOf(b)];
    return (
      kindOf(one) === kindOf(other) &&
      one.group === other.group &&
      one.namespace === other.namespace &&
      one.name === other.name
    );
  };

  /** Who leads, and who is to be next. */
  let leader: Replica;
  let next: Replica | undefined;
  /** What is held of the next leader as soon as it leads, or of this one should it come to it. */
  const early = new Map<Scene, Hold>();

  /**
   * Holds a write of each scene, does the leader its harm, and lets the writes go when another leads and has done the
   * same. Returns how long it took until another led, in milliseconds.
   */
  async function play(
    scenes: readonly Scene[],
    harm: (old: Replica) => Promise<() => Promise<unknown>>,
    beforehand: readonly Scene[] = [],
  ): Promise<number> {
    const old = leader;
    const follower = next!;
    await waitFor("the other to be ready", () => follower.ready(), SOON);
    const held = new Map<Scene, Hold>();
    for (const scene of scenes) held.set(scene, early.get(scene) ?? arm(scene));
    for (const { provoke } of scenes) await provoke?.();
    for (const [{ write }, hold] of held) {
      await waitFor(`${write} to be held`, () => hold.held !== undefined, SOON);
      expect(hold.held?.by.name, write).toBe(old.name);
    }
    for (const scene of beforehand) early.set(scene, arm(scene, old));

    const began = performance.now();
    const end = await harm(old);
    await waitFor("another to lead", async () => (await leaderName()) === follower.name, SOON);
    const took = performance.now() - began;
    const another = scenes.length === 0 ? undefined : start();
    for (const [{ write }, hold] of held) {
      await waitFor(
        `the new leader to do what is held: ${write}`,
        () => follower.proxy.transcript.some((done) => succeeded(done) && isSame(done, hold.held!.write)),
        SOON,
      );
    }
    for (const { meanwhile } of scenes) await meanwhile?.();

    const before = new Set(old.proxy.transcript.filter(({ status }) => status !== undefined));
    for (const hold of held.values()) hold.release();
    await end();
    for (const [{ write }, hold] of held) {
      const answered = await waitFor(`an answer to ${write}`, () => hold.held?.write.status, SOON);
      expect([404, 409, 422], `${write} came too late, and was answered ${answered}`).toContain(answered);
      fenced.add(write);
    }
    await waitFor(
      "an answer to all that it wrote",
      () => old.proxy.transcript.every(({ status }) => status !== undefined),
      SOON,
    );
    const effective = old.proxy.transcript.filter((write) => succeeded(write) && !before.has(write));
    // Events tell what was done, and are told to the end.
    expect(
      effective.map((write) => kindOf(targetOf(write))).filter((kind) => !/ events$/.test(kind)),
    ).toEqual([]);

    leader = follower;
    next = await another;
    return took;
  }
  const ended = async (old: Replica): Promise<void> => {
    const how = await Promise.race([
      old.ended,
      waitFor(`${old.name} to end`, () => false, { timeoutMs: 15_000 }).catch(() => undefined),
    ]);
    expect(how, `${old.name} did not end:\n${old.log.slice(-2000)}`).toEqual({ code: 1, signal: null });
  };
  const frozen = async (old: Replica): Promise<() => Promise<void>> => {
    old.signal("SIGSTOP");
    return async () => {
      old.signal("SIGCONT");
      await ended(old);
    };
  };

  it("one that finds no lease makes it, and a second one that did too has come too late", async () => {
    const hold = arm({ write: "create leases" });
    next = await start();
    await waitFor("the first to make the lease", () => hold.held !== undefined, SOON);
    leader = await start();
    await waitFor("the second to lead", async () => (await leaderName()) === leader.name, SOON);
    hold.release();
    expect(await waitFor("an answer", () => hold.held?.write.status, SOON)).toBe(409);
    fenced.add("create leases");
  });

  /** What a leader does as soon as it leads: that Event was written before. */
  const repeated: Scene = { write: "patch events", name: /^wrong\./ };
  /** What has to wait for its time. */
  const expired: Scene = { write: "delete checkpointdownloads", name: "short" };

  it("the one that leads is frozen: another leads in time, and what it had decided has no effect", async () => {
    await waitFor("what is there to be seen to", async () => {
      for (const name of ["keeper-daemonset", "batch-job"]) await client.get(schedules, named(name));
      await client.get(configMaps, { namespace: SYSTEM, name: TRANSFER_AUTHORITY });
      await client.get(secrets, { namespace: SYSTEM, name: WEBHOOK });
      return true;
    });
    const scenes: Scene[] = [
      {
        write: "apply secrets",
        name: WEBHOOK,
        provoke: () => client.delete(secrets, { namespace: SYSTEM, name: WEBHOOK }),
      },
      {
        write: "create clusterroles",
        name: nodeRoleName("node-2"),
        provoke: () => readyNode("node-2"),
      },
      {
        write: "create checkpointschedules",
        name: "store-statefulset",
        provoke: () => workload(statefulSets, "store", RARELY),
      },
      {
        write: "patch checkpointrequests/status",
        name: "asked",
        provoke: () => make<CheckpointRequest>(requests, "asked", { podReference: { name: "asked-0" } }),
      },
      {
        write: "create checkpointrequests",
        name: /^due-/,
        provoke: () => setStatus(schedules, "due", { lastRunTime: "2001-01-01T00:00:00Z" }),
      },
      { write: "patch pods", name: "noted-0", provoke: () => runningPod("noted") },
      {
        write: "patch pods/status",
        name: "noted-0",
      },
      {
        write: "create pods",
        is: ({ metadata: { labels } }: KubeObject) => labels?.[PROBE_LABEL] === "true",
        provoke: async () => {
          const { metadata } = await client.get(pods, named("web-0"));
          await checkpoint("good", NODE);
          const lastTransitionTime = new Date().toISOString();
          const good = { type: RESTORABLE, status: "True", reason: "Good", message: "", lastTransitionTime };
          await setStatus(checkpoints, "good", {
            phase: "ImageBuilt",
            lineage: { podUID: metadata.uid, containerID: "web", restartCount: 0 },
            conditions: [good],
          });
        },
      },
      {
        write: "patch certificatesigningrequests/approval",
        provoke: () => certificateRequest("first"),
      },
      {
        write: "create events",
        is: ({ reason }: { reason: string }) => reason === "InvalidSchedule",
        provoke: () => workload(deployments, "wrong", "99 99 99 99 99"),
      },
      {
        write: "patch checkpoints/status",
        name: "lost",
        provoke: () => checkpoint("lost", "gone"),
      },
      {
        write: "patch checkpointdownloads/status",
        name: "none",
        provoke: () => download("none", 3600),
      },
      {
        write: "patch checkpointrestores/status",
        name: "none",
        provoke: () =>
          make<CheckpointRestore>(restores, "none", {
            checkpointName: "nowhere",
            podReference: { name: "web-0" },
          }),
      },
    ];
    const renewal: Scene = { write: "update leases" };
    const took = await play(scenes, async (old) => {
      const hold = arm(renewal);
      await waitFor("a renewal to be held", () => hold.held?.by === old, { ...SOON, intervalMs: 10 });
      const thaw = await frozen(old);
      return async () => {
        hold.release();
        expect(await waitFor("an answer", () => hold.held?.write.status, SOON)).toBe(409);
        fenced.add(renewal.write);
        await thaw();
      };
    });
    expect(took).toBeLessThan(LIMIT_MS);
  });

  it("the one that leads is cut off: another leads in time, and what was on its way has no effect", async () => {
    const scenes: Scene[] = [
      {
        write: "create serviceaccounts",
        name: "node-4",
        provoke: () => readyNode("node-4"),
      },
      {
        write: "delete checkpointschedules",
        name: "batch-job",
        provoke: () => annotate(jobs, "batch", null),
        meanwhile: async () => {
          await annotate(jobs, "batch", RARELY);
          await waitFor(
            "the next schedule of its name",
            () => client.get(schedules, named("batch-job")),
            SOON,
          );
        },
      },
      {
        write: "patch configmaps",
        name: TRANSFER_AUTHORITY,
        provoke: () =>
          client.patch(
            configMaps,
            { namespace: SYSTEM, name: TRANSFER_AUTHORITY },
            { type: "merge", body: { data: { "ca.crt": "" } } },
          ),
      },
      {
        write: "patch mutatingwebhookconfigurations",
        name: CONFIGURATION,
        provoke: () =>
          client.patch(
            mutatingWebhookConfigurations,
            { name: CONFIGURATION },
            { type: "json", body: [{ op: "add", path: "/webhooks/0/clientConfig/caBundle", value: "" }] },
          ),
      },
      {
        write: "patch checkpointschedules/status",
        name: "quiet",
        provoke: () => schedule("quiet", "nobody"),
      },
      {
        write: "delete checkpoints",
        name: "surplus",
        provoke: async () => {
          await checkpoint("surplus", NODE);
          await setStatus(checkpoints, "surplus", {
            phase: "Failed",
            lineage: { podUID: "gone", containerID: "gone", restartCount: 0 },
          });
          await client.patch(checkpoints, named("surplus"), {
            type: "merge",
            body: { metadata: { labels: { of: "nobody", pod: "gone" } } },
          });
          await make(retentions, "few", { selector: { matchLabels: { of: "nobody" } }, maxAge: "1h" });
        },
      },
      {
        write: "patch clustercheckpointretentions/status",
        name: "all",
        provoke: () => make(clusterRetentions, "all", { defaults: { keepLast: 9 } }),
      },
    ];
    const took = await play(
      scenes,
      async (old) => {
        const heal = old.proxy.partition();
        await download("short", 30);
        return async () => {
          // Cut off as it is: nobody tells it that another leads.
          await ended(old);
          heal();
        };
      },
      [repeated, expired],
    );
    expect(took).toBeLessThan(LIMIT_MS);
  });

  it("the one that leads is frozen and its lease taken: what it had decided has no effect", async () => {
    const probe = async () => {
      const { items } = await client.list(pods, { namespace: SYSTEM, labelSelector: PROBE_LABEL });
      return items[0];
    };
    const authority = { namespace: SYSTEM, name: TRANSFER_AUTHORITY };
    const scenes: Scene[] = [
      repeated,
      expired,
      {
        write: "apply configmaps",
        name: TRANSFER_AUTHORITY,
        provoke: async () => {
          await client.delete(secrets, authority);
          await client.delete(configMaps, authority);
        },
      },
      {
        write: "patch secrets",
        name: WEBHOOK,
        provoke: () =>
          client.patch(
            secrets,
            { namespace: SYSTEM, name: WEBHOOK },
            { type: "merge", body: { data: { "tls.crt": "" } } },
          ),
      },
      {
        write: "create clusterrolebindings",
        name: nodeRoleName("node-3"),
        provoke: () => readyNode("node-3"),
      },
      {
        write: "patch checkpointschedules",
        name: "keeper-daemonset",
        provoke: () => annotate(daemonSets, "keeper", "0 0 2 1 *"),
      },
      {
        write: "patch deployments/status",
        name: "late",
        provoke: () => workload(deployments, "late", RARELY),
      },
      {
        write: "delete pods",
        provoke: async () => {
          const asks = (write: Written) => kindOf(targetOf(write)) === "create pods" && succeeded(write);
          await waitFor("the leader's probe", () => leader.proxy.transcript.some(asks), SOON);
          const { metadata } = (await probe())!;
          const state = { waiting: { reason: "CreateContainerError" } };
          const containerStatuses = [
            { name: "probe", image: "probe", imageID: "", ready: false, restartCount: 0, state },
          ];
          const body = { status: { containerStatuses } };
          await client.patch(pods, metadata, { type: "merge", body }, { subresource: "status" });
        },
        meanwhile: () => waitFor("the next probe", probe, SOON),
      },
      {
        write: "patch certificatesigningrequests/status",
        name: "second",
        provoke: () => certificateRequest("second"),
      },
      {
        write: "delete checkpointrequests",
        name: "stale",
        provoke: async () => {
          await make<CheckpointRequest>(requests, "stale", { podReference: { name: "nobody" } });
          const completionTime = "2001-01-01T00:00:00Z";
          await setStatus(requests, "stale", { phase: "Failed", reason: "PodNotFound", completionTime });
        },
      },
      {
        write: "patch checkpointretentions/status",
        name: "elsewhere",
        provoke: () => make(retentions, "elsewhere", { keepLast: 9 }, { namespace: NODES_NAMESPACE }),
      },
      {
        write: "patch checkpoints",
        name: "doomed",
        provoke: async () => {
          const { metadata } = await checkpoint("doomed", "gone", [ARCHIVE_FINALIZER, "test.kcr.io/keep"]);
          await client.delete(checkpoints, metadata);
        },
      },
    ];
    await play(scenes, async (old) => {
      const thaw = await frozen(old);
      // What the next one trusts is another authority.
      await client.delete(secrets, authority);
      const { spec } = await client.get(leases, LEASE);
      const body = { spec: { ...spec, holderIdentity: "" } };
      await client.patch(leases, LEASE, { type: "merge", body });
      return thaw;
    });
  });

  it("the one that leads is killed: another leads in time", async () => {
    const took = await play([], async (old) => {
      old.signal("SIGKILL");
      return () => old.ended;
    });
    expect(took).toBeLessThan(LIMIT_MS);
  });

  it("all write what is named only, each with what keeps it from coming too late, and nothing twice", async () => {
    const all = replicas.flatMap(({ proxy }) => proxy.transcript);
    const entries = new Map(WRITES.map((entry) => [kindOfEntry(entry), entry]));
    for (const write of all) {
      const entry = entries.get(kindOf(targetOf(write)));
      expect(entry?.resource.group, `${write.method} ${write.url}`).toBe(targetOf(write).group);
      expect(isFenced(entry!.fence, write), `${write.method} ${write.url}`).toBe(true);
    }
    expect([...fenced].sort()).toEqual([...entries.keys()].sort());

    const steps = new Map<string, number>();
    for (const write of all.filter((one) => succeeded(one) && !isQuestion(one))) {
      const { namespace, name, plural } = targetOf(write);
      if (plural === "leases" || plural === "events" || UNDONE.has(name)) continue;
      const step = `${kindOf(targetOf(write))} ${namespace}/${name} ${saying(write)}`;
      steps.set(step, (steps.get(step) ?? 0) + 1);
    }
    expect([...steps].filter(([, times]) => times > 1)).toEqual([]);

    const slots = new Map<string, number>();
    for (const { metadata } of (await client.list(requests, { namespace: TEAM })).items) {
      const slot = metadata.annotations?.[SLOT_ANNOTATION];
      if (slot === undefined) continue;
      const key = `${metadata.ownerReferences?.[0]?.uid} ${slot}`;
      slots.set(key, (slots.get(key) ?? 0) + 1);
    }
    expect([...slots.values()]).toEqual([1]);
  });
});

/** What a write says, without when, and without the version that it rests on. */
function saying({ body }: Written): string {
  return JSON.stringify(body, (key, value) =>
    key === "resourceVersion" || key.endsWith("Time") || value?.path === "/metadata/resourceVersion"
      ? undefined
      : value,
  );
}
