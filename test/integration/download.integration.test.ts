import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { LocalStore } from "../../src/agent/store/store.ts";
import { downloadReason } from "../../src/agent/transfer/download-reason.ts";
import { Transfer } from "../../src/agent/transfer/transfer.ts";
import { DOWNLOAD_USAGES, TRANSFER_SIGNER, TRANSFER_USAGES } from "../../src/api/agent-certificate.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { type CheckpointDownload, DOWNLOAD_NAMESPACE, downloadPath } from "../../src/api/download.ts";
import { checkpoints, downloads } from "../../src/api/kinds.ts";
import { createTokenKey, openToken, type TokenKey } from "../../src/api/sealed-token.ts";
import { settings } from "../../src/api/settings.ts";
import { runDownload } from "../../src/download/download.ts";
import { Cache } from "../../src/kube/cache.ts";
import { createRequest } from "../../src/kube/certificates.ts";
import { Client } from "../../src/kube/client.ts";
import { isForbidden, isInvalid } from "../../src/kube/errors.ts";
import { EventRecorder } from "../../src/kube/events.ts";
import { silent } from "../../src/kube/log.ts";
import { noMetrics } from "../../src/kube/metrics.ts";
import {
  certificateSigningRequests,
  type KubeObject,
  namespaces,
  nodes,
  type Pod,
  pods,
  resource,
  secrets,
} from "../../src/kube/resources.ts";
import { absent, writeStatus } from "../../src/kube/write.ts";
import { createCertificates } from "../../src/operator/certificates/controller.ts";
import type { Context } from "../../src/operator/context.ts";
import { downloadCaches, downloadController } from "../../src/operator/download/controller.ts";
import { type CopyIndex, contentDigest } from "../../src/store/copy.ts";
import { Layout } from "../../src/store/layout.ts";
import { DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION } from "../../src/transfer/identity.ts";
import { type ApiServer, startApiServer } from "../support/apiserver.ts";
import { randomContent, writeCheckpoint } from "../support/archive.ts";
import { applyManifests } from "../support/manifests.ts";
import { makeNamespace } from "../support/namespace.ts";
import { waitFor } from "../support/wait-for.ts";

const SYSTEM = "kcr-system";
const MiB = 2 ** 20;
const never = new AbortController().signal;
const rbac = { group: "rbac.authorization.k8s.io", version: "v1" };
const roleBindings = resource<KubeObject>({ ...rbac, plural: "rolebindings", kind: "RoleBinding" });
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Operator, one node's agent and the download part on a real API server, each with the rights that it is given. */
describe.skipIf(inject("kubeconfig") === undefined)("downloads", () => {
  let api: ApiServer;
  let admin: Client;
  let directory: string;
  let namespace: string;
  let store: LocalStore;
  /** Where the download part answers, and with what rights. */
  let port: number;
  let part: Client;
  let archive: Buffer;
  let copy: CopyIndex;
  /** How much later it is for the operator. */
  let lateMs = 0;
  const stop = new AbortController();
  const running: Promise<unknown>[] = [];
  const clients: Client[] = [];

  beforeAll(async () => {
    api = await startApiServer();
    admin = Client.fromConfig({ kubeconfig: api.kubeconfig });
    directory = await mkdtemp(join(tmpdir(), "kcr-download-"));
    await applyManifests(api);
    await admin.create(nodes, { metadata: { name: "node-1" } });
    await startOperator();
    await startAgent();
    await startPart();
    // Agent and download part are given their certificates.
    namespace = await makeNamespace(admin, "shop");
    await dumped();
    await taken("first");
    const token = await tokenFor("first", "first");
    await waitFor("the first download", async () => (await fetched("first", token)).status === 200);
  });
  afterAll(async () => {
    stop.abort();
    await Promise.allSettled(running);
    for (const client of [...clients, admin]) client.close();
    await api.stop();
    await rm(directory, { recursive: true });
  });
  beforeEach(async () => {
    lateMs = 0;
    namespace = await makeNamespace(admin, "shop");
    await dumped();
  });

  const run = (work: Promise<unknown>): void => {
    work.catch(() => {});
    running.push(work);
  };

  /** A client with a token of an account of kcr's, as the kubelet has it made for a pod. */
  async function accountClient(of: { namespace: string; name: string }, pod: string): Promise<Client> {
    const { metadata } = await admin.create(pods, {
      metadata: { name: pod, namespace: of.namespace, labels: { "app.kubernetes.io/name": of.name } },
      spec: {
        nodeName: "node-1",
        serviceAccountName: of.name,
        securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
        containers: [
          {
            name: "app",
            image: "kcr",
            securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
          },
        ],
      },
    } as Pod);
    const boundObjectRef = { kind: "Pod", apiVersion: "v1", name: pod, uid: metadata.uid };
    const { status } = await admin.request<{ status: { token: string } }>(
      "POST",
      `/api/v1/namespaces/${of.namespace}/serviceaccounts/${of.name}/token`,
      { body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { boundObjectRef } } },
    );
    const file = join(directory, `${pod}.kubeconfig`);
    const ca = readFileSync(api.caFile, "utf8");
    await writeFile(file, kubeconfig({ url: api.url, ca }, { token: status.token }), { mode: 0o600 });
    const client = Client.fromConfig({ kubeconfig: file });
    clients.push(client);
    return client;
  }

  async function startOperator(): Promise<void> {
    const client = await accountClient({ namespace: SYSTEM, name: "kcr-operator" }, "operator");
    const common = { client, log: silent, metrics: noMetrics };
    const certificates = createCertificates({ client, namespace: SYSTEM, log: silent });
    const own = downloadCaches(common);
    const cache = new Cache({ ...common, resource: checkpoints });
    const recorder = new EventRecorder({ ...common, controller: "kcr-operator", instance: "test" });
    const context = {
      ...common,
      namespace: SYSTEM,
      recorder,
      now: () => new Date(Date.now() + lateMs),
      caches: { checkpoints: cache },
    } as unknown as Context;
    const controllers = [...certificates.controllers(() => new Date()), downloadController(context, own)];
    for (const it of [...certificates.caches, ...Object.values(own), cache, ...controllers]) {
      run(it.run(stop.signal));
    }
  }

  async function startAgent(): Promise<void> {
    const layout = new Layout(join(directory, "kcr"));
    store = new LocalStore(layout);
    await store.start();
    const client = await accountClient({ namespace: SYSTEM, name: "kcr-agent" }, "agent-node-1");
    const transfer = new Transfer({
      client,
      node: "node-1",
      namespace: SYSTEM,
      settings: settings.parse({ store: "node" }).transfer,
      store,
      listen: { port: 0, host: "127.0.0.1" },
      log: silent,
      now: () => new Date(),
    });
    run(transfer.run(stop.signal));
    agentPort = () => transfer.port;
  }
  let agentPort: () => number | undefined;

  /** Has the node take an archive of a pod of the namespace. */
  async function dumped(): Promise<void> {
    const path = join(directory, "archive.tar");
    await mkdir(directory, { recursive: true });
    await writeCheckpoint(path, {
      podNamespace: namespace,
      pages: randomContent(8 * MiB),
      more: [{ name: "container.log", content: "a line of log\n" }],
    });
    archive = await readFile(path);
    const stream = {
      name: path,
      size: archive.length,
      read: async function* () {
        yield archive;
      },
    };
    copy = await store.add(stream, never);
  }

  async function startPart(): Promise<void> {
    part = await accountClient({ namespace: DOWNLOAD_NAMESPACE, name: "kcr-download" }, "download");
    const listening = Promise.withResolvers<number>();
    run(
      runDownload({
        client: part,
        settings: settings.parse({ store: "node" }),
        system: SYSTEM,
        port: 0,
        agentPort: 0,
        findAgent: async (node) => {
          const at = agentPort();
          return node === "node-1" && at !== undefined ? { host: "127.0.0.1", port: at } : undefined;
        },
        log: silent,
        signal: stop.signal,
        onListening: listening.resolve,
      }),
    );
    port = await listening.promise;
    await ready("True");
  }
  /** What the kubelet would say of the download part's pod. */
  const ready = async (status: "True" | "False"): Promise<void> => {
    const pod = await admin.get(pods, { namespace: DOWNLOAD_NAMESPACE, name: "download" });
    await writeStatus(admin, pods, pod, { conditions: [{ type: "Ready", status }] });
  };

  /** A Checkpoint of the archive, which its node has a copy of. */
  async function taken(name: string, more: { digest?: string; nodeName?: string } = {}): Promise<Checkpoint> {
    const { digest = `sha256:${copy.archive}`, nodeName = "node-1" } = more;
    const checkpoint = await admin.create(checkpoints, {
      metadata: { name, namespace },
      spec: {
        checkpointData: "checkpoint-a_b-c-2026-01-01T00:00:00Z.tar",
        checkpointTimestamp: "2026-01-01T00:00:00Z",
        checkpointID: name,
        containerName: "redis",
        nodeName,
      },
    });
    return await writeStatus(admin, checkpoints, checkpoint, {
      digest,
      contentDigest: contentDigest(copy),
      sizeBytes: archive.length,
      copies: [{ kind: "Node", node: nodeName }],
    });
  }

  const create = (
    name: string,
    checkpointName: string,
    key: Pick<TokenKey, "publicKey">,
    ttlSeconds?: number,
    by = admin,
  ) =>
    by.create(downloads, {
      metadata: { name, namespace },
      spec: { checkpointName, publicKey: key.publicKey, ...(ttlSeconds && { ttlSeconds }) },
    });
  const inPhase = (name: string, phase: string): Promise<CheckpointDownload> =>
    waitFor(`${name} to be ${phase}`, async () => {
      const now = await admin.get(downloads, { namespace, name });
      return now.status?.phase === phase && now;
    });

  /** A token of a download of that Checkpoint, as its owner has it. */
  async function tokenFor(name: string, checkpointName: string): Promise<string> {
    const key = createTokenKey();
    await create(name, checkpointName, key);
    const { status, metadata } = await inPhase(name, "Ready");
    return openToken(status?.sealedToken ?? "", key, metadata);
  }

  const fetched = async (name: string, token: string, range?: string, of = namespace) => {
    const headers = { authorization: `Bearer ${token}`, ...(range && { range }) };
    const answer = await new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
      get({ host: "127.0.0.1", port, path: downloadPath(of, name), headers, agent: false }, resolve).on(
        "error",
        reject,
      );
    });
    return { status: answer.statusCode, bytes: await buffer(answer) };
  };

  it("give the archive of a node's copy, byte for byte, to who has the key", async () => {
    await taken("c1");
    const token = await tokenFor("d1", "c1");
    const { status } = await admin.get(downloads, { namespace, name: "d1" });
    expect(status).toMatchObject({
      digest: `sha256:${copy.archive}`,
      sizeBytes: archive.length,
      endpoint: { namespace: DOWNLOAD_NAMESPACE, podName: "download", port: 8445 },
      tokenHash: sha256(Buffer.from(token)),
    });
    expect(JSON.stringify(status)).not.toContain(token);
    const whole = await fetched("d1", token);
    expect([whole.status, sha256(whole.bytes)]).toEqual([200, copy.archive]);
    const some = await fetched("d1", token, "bytes=500-5000999");
    expect(some.status).toBe(206);
    expect(some.bytes.equals(archive.subarray(500, 5_001_000))).toBe(true);
  });

  it("give nothing for another token, and nothing when it is taken away", async () => {
    await taken("c1");
    const [one, two] = [await tokenFor("d1", "c1"), await tokenFor("d2", "c1")];
    const nothing = { status: 401, bytes: Buffer.alloc(0) };
    expect(await fetched("d1", two)).toEqual(nothing);
    expect(await fetched("d3", one)).toEqual(nothing);
    expect(await fetched("d1", one, undefined, "default")).toEqual(nothing);
    await admin.delete(downloads, { namespace, name: "d1" });
    expect(await fetched("d1", one)).toEqual(nothing);
    expect((await fetched("d2", two)).status).toBe(200);
    // Another that takes its name has a token of its own.
    await tokenFor("d1", "c1");
    expect(await fetched("d1", one)).toEqual(nothing);
  });

  it("end when their time is over, and go", async () => {
    await taken("c1");
    const key = createTokenKey();
    await create("d1", "c1", key, 30);
    const { status, metadata } = await inPhase("d1", "Ready");
    const end = Date.parse(metadata.creationTimestamp ?? "") + 30_000;
    expect(status?.expirationTime).toBe(new Date(end).toISOString());
    lateMs = 31_000;
    await create("nudge", "c1", key);
    await admin.patch(downloads, metadata, { type: "merge", body: { metadata: { labels: { a: "b" } } } });
    await waitFor(
      "it to be deleted",
      async () => (await admin.get(downloads, metadata).catch(absent)) === undefined,
    );
  });

  it("wait for the download part, and follow it", async () => {
    await taken("c1");
    await ready("False");
    try {
      await create("d1", "c1", createTokenKey());
      expect((await inPhase("d1", "Pending")).status?.reason).toBe("DownloadUnavailable");
    } finally {
      await ready("True");
    }
    await inPhase("d1", "Ready");
  });

  it("fail where there is no such Checkpoint, and wait where it has no bytes yet", async () => {
    await create("d1", "none", createTokenKey());
    expect((await inPhase("d1", "Failed")).status?.reason).toBe("CheckpointNotFound");
    const { metadata } = await taken("c1");
    await writeStatus(admin, checkpoints, await admin.get(checkpoints, metadata), { copies: [] });
    await create("d2", "c1", createTokenKey());
    expect((await inPhase("d2", "Pending")).status?.reason).toBe("ArchiveNowhere");
    await create("d3", "c1", { publicKey: `x25519:${"A".repeat(43)}` });
    await writeStatus(admin, checkpoints, await admin.get(checkpoints, metadata), {
      copies: [{ kind: "Node", node: "node-1" }],
    });
    await inPhase("d2", "Ready");
    expect((await inPhase("d3", "Failed")).status?.reason).toBe("KeyUnsuitable");
  });

  it("lead to copies of the node that their Checkpoint was taken on, while they last, and to no others", async () => {
    // As the agent of the node asks itself, for any copy that has this name.
    const other = "f".repeat(64);
    const reason = (of: string, now = new Date()) =>
      downloadReason({ client: clients[1]!, node: "node-1", now: () => now })(of, never);
    await taken("own", { digest: `sha256:${other}` });
    await tokenFor("d1", "own");
    expect(await reason(other)).toBe(true);
    expect(await reason("e".repeat(64))).toBe(false);
    expect(await reason(other, new Date(Date.now() + 700_000))).toBe(false);
    await admin.delete(downloads, { namespace, name: "d1" });
    expect(await reason(other)).toBe(false);
    // The agent of another node says that its Checkpoint is of this archive.
    await taken("foreign", { digest: `sha256:${other}`, nodeName: "node-2" });
    await tokenFor("d2", "foreign");
    expect(await reason(other)).toBe(false);
  });

  it.each([
    ["no key", { publicKey: undefined }],
    ["a key of another form", { publicKey: "p256:abc" }],
    ["a key that is too short", { publicKey: `x25519:${"A".repeat(42)}` }],
    ["a path for a Checkpoint", { checkpointName: "../c1" }],
    ["a life too short", { ttlSeconds: 29 }],
    ["a life too long", { ttlSeconds: 3601 }],
  ])("are not taken with %s", async (_, more) => {
    const spec = { checkpointName: "c1", publicKey: createTokenKey().publicKey, ...more };
    const making = admin.create(downloads, {
      metadata: { name: "d", namespace },
      spec,
    } as CheckpointDownload);
    await expect(making).rejects.toSatisfy(isInvalid);
  });

  it("do not change", async () => {
    await create("d1", "c1", createTokenKey());
    const patch = { type: "merge" as const, body: { spec: { checkpointName: "c2" } } };
    await expect(admin.patch(downloads, { namespace, name: "d1" }, patch)).rejects.toSatisfy(isInvalid);
  });

  describe("are a matter of rights:", () => {
    async function personOf(role: string, name = "ann"): Promise<Client> {
      const client = Client.fromConfig({ kubeconfig: await api.userKubeconfig(name) });
      clients.push(client);
      await admin.create(roleBindings, {
        metadata: { namespace, name: `${name}-${role}` },
        roleRef: { apiGroup: rbac.group, kind: "ClusterRole", name: role },
        subjects: [{ kind: "User", name, apiGroup: rbac.group }],
      } as KubeObject);
      return client;
    }

    it.each(["edit", "admin", "kcr-operate", "view"])("%s makes none", async (role) => {
      const person = await personOf(role, `with-${role}`);
      await expect(create("d1", "c1", createTokenKey(), undefined, person)).rejects.toSatisfy(isForbidden);
    });

    it("kcr-read-memory makes them in its namespace, and writes no status", async () => {
      const person = await personOf("kcr-read-memory");
      await create("d1", "c1", createTokenKey(), undefined, person);
      const elsewhere = await makeNamespace(admin, "bank");
      const spec = { checkpointName: "c1", publicKey: createTokenKey().publicKey };
      const other = person.create(downloads, { metadata: { name: "d1", namespace: elsewhere }, spec });
      await expect(other).rejects.toSatisfy(isForbidden);
      const body = {
        type: "merge" as const,
        body: { status: { phase: "Ready", tokenHash: "0".repeat(64) } },
      };
      const name = { namespace, name: "d1" };
      await expect(person.patch(downloads, name, body, { subresource: "status" })).rejects.toSatisfy(
        isForbidden,
      );
      await expect(person.patch(downloads, name, body)).rejects.toSatisfy(isForbidden);
    });

    it("neither operator, agent nor download part makes one", async () => {
      for (const client of clients.slice(0, 3)) {
        await expect(create("d1", "c1", createTokenKey(), undefined, client)).rejects.toSatisfy(isForbidden);
      }
    });

    it("the download part reads what it is asked for, and nothing else", async () => {
      const { metadata } = await taken("c1");
      await create("d1", "c1", createTokenKey());
      await part.get(downloads, { namespace, name: "d1" });
      await part.get(checkpoints, metadata);
      const body = { type: "merge" as const, body: { status: { tokenHash: "0".repeat(64) } } };
      for (const attempt of [
        () => part.list(downloads),
        () => part.list(checkpoints, { namespace }),
        () => part.patch(downloads, { namespace, name: "d1" }, body, { subresource: "status" }),
        () => part.patch(checkpoints, metadata, body, { subresource: "status" }),
        () => part.list(secrets, { namespace: SYSTEM }),
        () => part.list(secrets, { namespace: DOWNLOAD_NAMESPACE }),
        () => part.list(pods, { namespace }),
        () => part.list(namespaces),
      ]) {
        await expect(attempt()).rejects.toSatisfy(isForbidden);
      }
    });

    it("the download part is given a certificate as itself, and no other", async () => {
      const ask = (
        commonName: string,
        organization: string,
        usages: string[],
        signerName = TRANSFER_SIGNER,
      ) =>
        part.create(certificateSigningRequests, {
          metadata: { generateName: "test-" },
          spec: {
            request: Buffer.from(
              createRequest({ commonName, organizations: [organization] }).request,
            ).toString("base64"),
            signerName,
            usages,
          },
        });
      await expect(
        ask("x", "system:masters", ["client auth"], "kubernetes.io/kube-apiserver-client"),
      ).rejects.toSatisfy(isForbidden);
      const { metadata } = await ask("node-1", "kcr.io:agents", TRANSFER_USAGES);
      const own = await ask(DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION, DOWNLOAD_USAGES);
      const answered = (name: string) =>
        waitFor("an answer", async () => {
          const { status } = await admin.get(certificateSigningRequests, { name });
          return (
            (status?.certificate !== undefined ||
              status?.conditions?.some(({ type }) => type === "Denied")) &&
            status
          );
        });
      expect((await answered(metadata.name)).certificate).toBeUndefined();
      expect((await answered(own.metadata.name)).certificate).toBeDefined();
    });
  });
});
