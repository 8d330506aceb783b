import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { type CheckpointSpec, hole, writeCheckpoint } from "../../../test/support/archive.ts";
import { installCrds } from "../../../test/support/crds.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { startRegistry, type TestRegistry } from "../../../test/support/registry.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import {
  ARCHIVE_FINALIZER,
  type Checkpoint,
  type CheckpointStatus,
  IMAGE_FINALIZER,
  LOCAL_COPY,
  RESTORABLE,
} from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { checkpoints, isGood } from "../../api/kinds.ts";
import { type Settings, settings } from "../../api/settings.ts";
import { Client } from "../../kube/client.ts";
import { silent } from "../../kube/log.ts";
import { events, type Pod, pods } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { CORRUPT_MARK } from "../../store/copy.ts";
import { Layout } from "../../store/layout.ts";
import { type RunState, STATE, STATE_VERSION } from "../../store/runs.ts";
import { createAgent } from "../agent.ts";
import { Archives } from "../archives.ts";
import type { Context } from "../context.ts";
import { Locks } from "../locks.ts";
import { fixedToken } from "../token/token.ts";
import { ensureCopy } from "./obtain.ts";
import { Pins } from "./pins.ts";
import { LocalStore } from "./store.ts";

const kubeconfig = inject("kubeconfig");
const never = new AbortController().signal;

/** The agent on a real API server and a real registry; Checkpoints and archives are written by the test. */
describe.skipIf(kubeconfig === undefined)("the agent's copies", () => {
  let client: Client;
  let registry: TestRegistry;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
    registry = await startRegistry();
  });
  afterAll(() => registry?.stop());

  let directory: string;
  let archives: string;
  let layout: Layout;
  /** Another look at the same store. */
  let store: LocalStore;
  let namespace: string;
  let node: string;
  let stop: AbortController;
  let running: Promise<void> | undefined;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-copies-"));
    archives = join(directory, "checkpoints");
    await mkdir(archives);
    layout = new Layout(join(directory, "kcr"));
    store = new LocalStore(layout);
    namespace = await makeNamespace(client, "shop");
    node = `node-of-${namespace}`;
  });
  afterEach(async () => {
    await stopAgent();
    await rm(directory, { recursive: true });
  });

  const settingsWith = (more: object = {}): Settings =>
    settings.parse({
      registry: { push: registry.address, plainHttp: true },
      kubelet: { checkpointDirectory: archives },
      ...more,
      local: { directory: layout.root, ...(more as { local?: object }).local },
    });
  async function startAgent(more?: object): Promise<void> {
    stop = new AbortController();
    const agent = createAgent({
      node,
      client,
      settings: settingsWith(more),
      kubelet: { host: "127.0.0.1", port: 1, caFile: "/none", token: fixedToken("none") },
      log: silent,
      now: () => new Date(),
    });
    running = agent.run(stop.signal);
    running.catch(() => {});
    await waitFor("the agent's caches", () => agent.ready());
  }
  async function stopAgent(): Promise<void> {
    stop?.abort();
    await running;
    running = undefined;
  }

  let minutes = 0;
  /** A Checkpoint of container `app` of one pod of class kcr, with its archive, as a dump leaves it; later than those before. */
  async function taken(
    name: string,
    { archive = {}, ...status }: CheckpointStatus & { archive?: CheckpointSpec } = {},
  ): Promise<Checkpoint> {
    const checkpointData = `checkpoint-cache_${namespace}-app-2026-01-01T12:00:00Z-${name}.tar`;
    await writeCheckpoint(join(archives, checkpointData), {
      podName: "cache",
      podNamespace: namespace,
      podUid: "pod-1",
      containerName: "app",
      pages: createHash("sha256").update(name).digest(),
      ...archive,
    });
    const made = await client.create(checkpoints, {
      metadata: { name, namespace, finalizers: [ARCHIVE_FINALIZER, IMAGE_FINALIZER] },
      spec: {
        checkpointData,
        checkpointTimestamp: new Date(Date.parse("2026-01-01T12:00:00Z") + ++minutes * 60_000).toISOString(),
        checkpointID: name,
        containerName: "app",
        nodeName: node,
      },
    });
    return await writeStatus(client, checkpoints, made, {
      phase: "Created",
      handler: "kcr",
      checkpointImage: `kcr/${namespace}/checkpoint-cache-app`,
      lineage: { podUID: "pod-1", containerID: "c0", restartCount: 0 },
      ...status,
    });
  }
  const now = ({ metadata }: Checkpoint) => client.get(checkpoints, metadata);
  const until = (checkpoint: Checkpoint, what: string, is: (c: Checkpoint) => unknown): Promise<Checkpoint> =>
    waitFor(`Checkpoint ${checkpoint.metadata.name} ${what}`, async () => {
      const current = await now(checkpoint);
      return (await is(current)) ? current : undefined;
    });
  const told = (c: Checkpoint, type: string): string | undefined => {
    const found = findCondition(c.status?.conditions, type);
    return found && `${found.status} ${found.reason}`;
  };
  const isCopied = (c: Checkpoint) => told(c, LOCAL_COPY) === "True CopyVerified";
  const hasArchive = async ({ spec }: Checkpoint) => (await readdir(archives)).includes(spec.checkpointData);
  const copyOf = ({ status }: Checkpoint) => (status?.digest ?? "").replace("sha256:", "");
  const places = ({ status }: Checkpoint) => (status?.copies ?? []).map(({ kind }) => kind).sort();
  const isSettled = async (c: Checkpoint) =>
    isCopied(c) && c.status?.phase === "ImageBuilt" && !(await hasArchive(c));

  it("is there beside the image, and then the archive goes; its finalizer stays until it is deleted", async () => {
    const checkpoint = await taken("a");
    const bytes = await readFile(join(archives, checkpoint.spec.checkpointData));
    await startAgent();
    const done = await until(checkpoint, "to be settled", isSettled);
    expect(places(done)).toEqual(["Node", "Registry"]);
    expect(copyOf(done)).toBe(createHash("sha256").update(bytes).digest("hex"));
    expect(isGood(done)).toBe(true);
    expect(done.metadata.finalizers).toContain(ARCHIVE_FINALIZER);
    expect(await store.verify(copyOf(done), never)).toEqual([]);

    await client.delete(checkpoints, done.metadata);
    await until(
      checkpoint,
      "to lose its finalizer",
      (c) => !c.metadata.finalizers?.includes(ARCHIVE_FINALIZER),
    );
    expect(await store.list()).toEqual([]);
    expect(await store.usedBytes()).toBe(0);
  });

  it("of a pod of another class is not made: the image is all", async () => {
    const checkpoint = await taken("a", { handler: undefined });
    await startAgent();
    const done = await until(
      checkpoint,
      "to lose its finalizer",
      (c) => !c.metadata.finalizers?.includes(ARCHIVE_FINALIZER),
    );
    expect(places(done)).toEqual(["Registry"]);
    expect(told(done, LOCAL_COPY)).toBeUndefined();
    expect(await store.list()).toEqual([]);
  });

  it("makes a Checkpoint good while the registry is away, and the archive stays for it", async () => {
    const down = { registry: { push: "127.0.0.1:1", plainHttp: true } };
    const both = await taken("a");
    await startAgent(down);
    const good = await until(both, "to be good", isGood);
    expect(told(good, RESTORABLE)).toBe("True CopyVerified");
    expect(good.status?.phase).not.toBe("ImageBuilt");
    expect(await hasArchive(good)).toBe(true);
    await stopAgent();

    const later = await taken("b");
    await startAgent({ ...down, store: "registry" });
    const copied = await until(later, "to have its copy", isCopied);
    expect(isGood(copied)).toBe(false);
    await stopAgent();

    await startAgent();
    for (const checkpoint of [both, later]) {
      expect(isGood(await until(checkpoint, "to be settled", isSettled))).toBe(true);
    }
  });

  describe("without a registry", () => {
    const alone = { registry: undefined, store: "node" };

    it("are all there is: the newest stay, those they push out are good no more", async () => {
      const all = [await taken("a", { handler: undefined }), await taken("b"), await taken("c")];
      await startAgent({ ...alone, local: { perContainer: 2 } });
      const [a, b, c] = all as [Checkpoint, Checkpoint, Checkpoint];
      for (const checkpoint of [b, c]) {
        const good = await until(
          checkpoint,
          "to be all in its copy",
          async (x) => isCopied(x) && !(await hasArchive(x)),
        );
        expect(good.status).toMatchObject({ phase: "Created" });
        expect(told(good, RESTORABLE)).toBe("True CopyVerified");
      }
      const dropped = await until(
        a,
        "to be dropped",
        async (x) => told(x, RESTORABLE) === "False CopyDropped" && !(await hasArchive(x)),
      );
      expect(places(dropped)).toEqual([]);

      const d = await taken("d");
      await until(d, "to be copied", isCopied);
      const old = await until(b, "to be dropped", (x) => told(x, RESTORABLE) === "False CopyDropped");
      expect(places(old)).toEqual([]);
      await waitFor("two copies", async () => (await store.list()).length === 2);
    });

    it("stay while a container runs from them", async () => {
      const pod = await client.create(pods, {
        metadata: { name: "cache", namespace },
        spec: { nodeName: node, containers: [{ name: "app", image: "app:1" }] },
      } as Pod);
      const a = await taken("a");
      await startAgent({ ...alone, local: { perContainer: 1 } });
      const copied = await until(a, "to be copied", isCopied);
      const state: RunState = {
        version: STATE_VERSION,
        chain: ["c0", "c1"],
        restoredFrom: {
          checkpoint: "a",
          uid: a.metadata.uid ?? "",
          copy: copyOf(copied),
          takenTime: a.spec.checkpointTimestamp,
          containerID: "c0",
        },
        crashes: {},
        passedOver: [],
        used: [],
      };
      const run = layout.run({ podUID: pod.metadata.uid ?? "", container: "app" });
      await mkdir(run, { recursive: true });
      await writeFile(join(run, STATE), JSON.stringify(state));
      const b = await taken("b");
      await until(b, "to be copied", isCopied);
      await until(await taken("c"), "to be copied", isCopied);
      await until(b, "to be dropped", (x) => told(x, RESTORABLE) === "False CopyDropped");
      expect(isCopied(await now(a))).toBe(true);
      expect(await store.has(copyOf(copied))).toBe(true);
    });

    it("damaged are good no more, and go", async () => {
      const a = await taken("a");
      await startAgent(alone);
      const copied = await until(
        a,
        "to be all in its copy",
        async (x) => isCopied(x) && !(await hasArchive(x)),
      );
      await writeFile(join(layout.copy(copyOf(copied)), CORRUPT_MARK), "found by a test");
      const lost = await until(a, "to be good no more", (x) => told(x, RESTORABLE) === "False CopyCorrupt");
      expect(places(lost)).toEqual([]);
      await waitFor("the copy to go", async () => (await store.list()).length === 0);
      await waitFor("an Event", async () =>
        (await client.list(events, { namespace })).items.some((e) => e.reason === "CopyCorrupt"),
      );
    });

    it("of an archive that is cut short is none, and the Checkpoint has failed", async () => {
      const a = await taken("a", { archive: { without: ["checkpoint/inventory.img"] } });
      await startAgent(alone);
      const failed = await until(a, "to fail", (x) => x.status?.phase === "Failed");
      expect(told(failed, RESTORABLE)).toBe("False ArchiveInvalid");
      expect(await store.list()).toEqual([]);
    });

    it("of another's archive is none", async () => {
      const a = await taken("a", { archive: { podNamespace: "another" } });
      await startAgent(alone);
      await until(a, "to fail", (x) => told(x, RESTORABLE) === "False ArchiveInvalid");
      expect(await store.list()).toEqual([]);
      expect(await hasArchive(a)).toBe(true);
    });
  });

  it("damaged is made anew from the image", async () => {
    const checkpoint = await taken("a");
    await startAgent();
    const done = await until(checkpoint, "to be settled", isSettled);
    await flip(join(layout.copy(copyOf(done)), "checkpoint/pages-1.img"));
    await store.markCorrupt(copyOf(done), "found by a test");
    await waitFor("a whole copy", () => store.has(copyOf(done)));
    expect(await store.verify(copyOf(done), never)).toEqual([]);
    expect(isGood(await now(done))).toBe(true);
  });

  it("is read after an agent that was killed, and made anew when damaged; not after one that ended well", async () => {
    const checkpoint = await taken("a");
    await startAgent();
    const done = await until(checkpoint, "to be settled", isSettled);
    await stopAgent();
    const pages = join(layout.copy(copyOf(done)), "checkpoint/pages-1.img");
    await flip(pages);
    expect((await stat(layout.clean)).isFile()).toBe(true);
    await rm(layout.clean);
    await startAgent();
    await waitFor("a whole copy", async () => (await store.verify(copyOf(done), never)).length === 0);
    await expect(stat(layout.clean)).rejects.toThrow();
  });

  describe("that are being made", () => {
    const making = () => waitFor("a half-made copy", async () => (await readdir(layout.tmp)).length > 0);
    const large = () => taken("large", { archive: { pages: hole(2 ** 28) } });

    it("go with their Checkpoint", async () => {
      await startAgent();
      const checkpoint = await large();
      await making();
      await client.delete(checkpoints, checkpoint.metadata);
      await until(
        checkpoint,
        "to lose its finalizer",
        (c) => !c.metadata.finalizers?.includes(ARCHIVE_FINALIZER),
      );
      expect(await store.list()).toEqual([]);
      expect(await readdir(layout.tmp)).toEqual([]);
      expect(await store.usedBytes()).toBe(0);
      expect(await hasArchive(checkpoint)).toBe(false);
    });

    it("are begun anew by the next agent", async () => {
      await startAgent();
      const checkpoint = await large();
      await making();
      await stopAgent();
      expect(await readdir(layout.tmp)).toEqual([]);
      await mkdir(join(layout.tmp, "left-by-one-that-was-killed"));
      await startAgent();
      const done = await until(checkpoint, "to be settled", isSettled);
      expect(await store.verify(copyOf(done), never)).toEqual([]);
      expect(await readdir(layout.tmp)).toEqual([]);
    });
  });

  it("that nobody was told of is told of, and not made a second time", async () => {
    const checkpoint = await taken("a");
    await startAgent();
    const done = await until(checkpoint, "to be settled", isSettled);
    await stopAgent();
    const { ino } = await stat(layout.copy(copyOf(done)));
    const conditions = done.status?.conditions?.filter(({ type }) => type !== LOCAL_COPY);
    const copies = done.status?.copies?.filter(({ kind }) => kind === "Registry");
    await writeStatus(client, checkpoints, await now(done), { conditions, copies });
    await startAgent();
    expect(places(await until(checkpoint, "to tell of its copy", isCopied))).toEqual(["Node", "Registry"]);
    expect((await stat(layout.copy(copyOf(done)))).ino).toBe(ino);
  });

  it("for which there is no room is told of, the image is made all the same, and the copy of it later", async () => {
    await mkdir(layout.root);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", layout.root]);
    try {
      const checkpoint = await taken("a", { archive: { pages: Buffer.alloc(2 ** 20, 1) } });
      await startAgent();
      const full = await until(
        checkpoint,
        "to be pushed",
        async (c) => c.status?.phase === "ImageBuilt" && !(await hasArchive(c)),
      );
      expect(told(full, LOCAL_COPY)).toBe("False DiskFull");
      expect(findCondition(full.status?.conditions, LOCAL_COPY)?.message).toContain(layout.root);
      expect(told(full, RESTORABLE)).toBe("True ImageVerified");
      await waitFor("an Event", async () =>
        (await client.list(events, { namespace })).items.some((e) => e.reason === "DiskFull"),
      );
      expect(await store.list()).toEqual([]);
      execFileSync("mount", ["-o", "remount,size=8m", layout.root]);
      const done = await until(checkpoint, "to have a copy", isCopied);
      expect(await store.verify(copyOf(done), never)).toEqual([]);
    } finally {
      await stopAgent();
      execFileSync("umount", [layout.root]);
    }
  });

  it("are read by hand beside the agent, which makes damaged ones anew", async () => {
    const checkpoint = await taken("a");
    await startAgent();
    const done = await until(checkpoint, "to be settled", isSettled);
    const copy = copyOf(done);
    const config = join(directory, "config.yaml");
    await writeFile(config, JSON.stringify(settingsWith()));
    const scrub = () => {
      const env = { ...process.env, NODE_NAME: node, HOST_IP: "127.0.0.1", KCR_CONFIG: config };
      const main = join(import.meta.dirname, "..", "main.ts");
      return JSON.parse(execFileSync(process.execPath, [main, "scrub"], { env, encoding: "utf8" }));
    };
    expect(scrub()).toEqual({ checked: 1, corrupt: [] });
    await flip(join(layout.copy(copy), "checkpoint/pages-1.img"));
    expect(scrub()).toMatchObject({ checked: 1, corrupt: [{ copy }] });
    await waitFor(
      "a whole copy",
      async () => (await store.has(copy)) && (await store.verify(copy, never)).length === 0,
    );
  });

  describe("of another node's Checkpoint", () => {
    /** An agent's other parts are not needed for it. */
    function elsewhere(root: string): Context {
      const layout = new Layout(root);
      const clock = () => new Date();
      return {
        node: "elsewhere",
        settings: settingsWith(),
        archives: new Archives(join(root, "none")),
        store: new LocalStore(layout),
        pins: new Pins(layout, clock),
        locks: new Locks(),
      } as Partial<Context> as Context;
    }

    it("is fetched from the registry, once, and held until a plan names it", async () => {
      await startAgent();
      const done = await until(await taken("a"), "to be settled", isSettled);
      const other = elsewhere(join(directory, "elsewhere"));
      await other.store.start();
      await ensureCopy(other, done, never);
      expect(await other.store.verify(copyOf(done), never)).toEqual([]);
      expect((await other.pins.read()).has(copyOf(done))).toBe(true);
      const { ino } = await stat(other.store.layout.copy(copyOf(done)));
      await ensureCopy(other, done, never);
      expect((await stat(other.store.layout.copy(copyOf(done)))).ino).toBe(ino);
    });

    it("is refused when it is not what was recorded, or is another's", async () => {
      await startAgent();
      const done = await until(await taken("a"), "to be settled", isSettled);
      const other = elsewhere(join(directory, "elsewhere"));
      await other.store.start();
      const lying = (change: object): Checkpoint => ({ ...done, ...change });
      const digest = `sha256:${"0".repeat(64)}`;
      const attempts = [
        lying({ status: { ...done.status, digest } }),
        lying({ spec: { ...done.spec, containerName: "sidecar" } }),
      ];
      for (const attempt of attempts) {
        await expect(ensureCopy(other, attempt, never)).rejects.toMatchObject({ code: "ArchiveInvalid" });
      }
      const nowhere = lying({ status: { ...done.status, imageDigest: undefined } });
      await expect(ensureCopy(other, nowhere, never)).rejects.toMatchObject({ code: "CopyMissing" });
      const stranger = lying({ metadata: { ...done.metadata, namespace: "another" } });
      await expect(ensureCopy(other, stranger, never)).rejects.toMatchObject({ code: "CopyMissing" });
      expect(await other.store.list()).toEqual([]);
    });
  });
});

async function flip(path: string): Promise<void> {
  await using file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, 10);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, 10);
}
