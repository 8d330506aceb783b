import { readFileSync } from "node:fs";
import { access, link, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { kubeconfig as kubeconfigText } from "../../../cluster/kubeconfig.ts";
import { type ApiServer, startApiServer } from "../../../test/support/apiserver.ts";
import { randomContent, writeCheckpoint } from "../../../test/support/archive.ts";
import { freePort } from "../../../test/support/free-ports.ts";
import { applyManifests } from "../../../test/support/manifests.ts";
import { makeNamespace } from "../../../test/support/namespace.ts";
import { startTcpProxy, type TcpProxy } from "../../../test/support/tcp-proxy.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { TRANSFER_AUTHORITY, TRANSFER_SIGNER, TRANSFER_USAGES } from "../../api/agent-certificate.ts";
import { type Checkpoint, type CheckpointStatus, LOCAL_COPY } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { readFetched } from "../../api/fetched.ts";
import { checkpoints, isGood, restores } from "../../api/kinds.ts";
import { ARMED, type CheckpointRestore, type RestorePhase } from "../../api/restore.ts";
import { settings } from "../../api/settings.ts";
import { fromData } from "../../kube/authority.ts";
import { createRequest } from "../../kube/certificates.ts";
import { Client } from "../../kube/client.ts";
import { isForbidden } from "../../kube/errors.ts";
import { silent } from "../../kube/log.ts";
import {
  type CertificateSigningRequest,
  certificateSigningRequests,
  configMaps,
  nodes,
  type Pod,
  pods,
  secrets,
} from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { createCertificates } from "../../operator/certificates/controller.ts";
import type { CopyFile } from "../../store/copy.ts";
import { Layout } from "../../store/layout.ts";
import { Peer } from "../../transfer/client.ts";
import { type Identity, ORGANIZATION } from "../../transfer/identity.ts";
import { Throttle } from "../../transfer/throttle.ts";
import { createAgent } from "../agent.ts";
import { LocalStore } from "../store/store.ts";

const SYSTEM = "kcr-system";
const MiB = 2 ** 20;
const never = new AbortController().signal;
const NODES = ["node-1", "node-2", "node-3"] as const;

/** An agent of a node, with the rights that its pod's account has there. */
interface Side {
  client: Client;
  directory: string;
  store: LocalStore;
  port: number;
  stop: AbortController;
  running: Promise<void>;
}

/** Agents of several nodes and the operator on a real API server, with kcr's manifests as they are. */
describe.skipIf(inject("kubeconfig") === undefined)("copies from node to node", () => {
  let api: ApiServer;
  let admin: Client;
  let directory: string;
  let namespace: string;
  const operating = new AbortController();
  let operator: Promise<unknown>;
  const clients: Client[] = [];
  const sides = new Map<string, Side>();
  /** Through which the first node's agent is reached. */
  let proxy: TcpProxy;

  beforeAll(async () => {
    api = await startApiServer();
    admin = Client.fromConfig({ kubeconfig: api.kubeconfig });
    directory = await mkdtemp(join(tmpdir(), "kcr-transfer-"));
    await applyManifests(api);
    for (const name of NODES) await admin.create(nodes, { metadata: { name } });
    const account = `system:serviceaccount:${SYSTEM}:kcr-operator`;
    const groups = ["system:serviceaccounts", `system:serviceaccounts:${SYSTEM}`];
    const client = Client.fromConfig({ kubeconfig: await api.userKubeconfig(account, groups) });
    clients.push(client);
    // The rest of the operator would have a word to say on restores of pods that do not exist.
    const certificates = createCertificates({ client, namespace: SYSTEM, log: silent });
    const parts = [...certificates.caches, ...certificates.controllers(() => new Date())];
    operator = Promise.all(parts.map((part) => part.run(operating.signal)));
    operator.catch(() => {});
    for (const node of NODES) sides.set(node, await startSide(node));
    proxy = await startTcpProxy(side("node-1").port);
  });
  afterAll(async () => {
    for (const { stop } of sides.values()) stop.abort();
    operating.abort();
    await Promise.allSettled([operator, ...[...sides.values()].map(({ running }) => running)]);
    await proxy?.stop();
    for (const client of clients) client.close();
    await api.stop();
    await rm(directory, { recursive: true });
  });
  beforeEach(async () => {
    namespace = await makeNamespace(admin, "shop");
  });
  afterEach(() => {
    proxy.onDown = undefined;
    proxy.cuts = 0;
  });

  const side = (node: string): Side => sides.get(node)!;

  /** A client with a token of the agents' account that is bound to a pod of that node, as its agent has it. */
  async function agentClient(node: string): Promise<Client> {
    const { metadata } = await admin.create(pods, {
      metadata: { name: `agent-${node}`, namespace: SYSTEM },
      spec: {
        nodeName: node,
        serviceAccountName: "kcr-agent",
        containers: [{ name: "agent", image: "kcr" }],
      },
    } as Pod);
    const boundObjectRef = { kind: "Pod", apiVersion: "v1", name: metadata.name, uid: metadata.uid };
    const { status } = await admin.request<{ status: { token: string } }>(
      "POST",
      `/api/v1/namespaces/${SYSTEM}/serviceaccounts/kcr-agent/token`,
      { body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { boundObjectRef } } },
    );
    const file = join(directory, `${node}.kubeconfig`);
    const ca = readFileSync(api.caFile, "utf8");
    await writeFile(file, kubeconfigText({ url: api.url, ca }, { token: status.token }), { mode: 0o600 });
    const client = Client.fromConfig({ kubeconfig: file });
    clients.push(client);
    return client;
  }

  async function startSide(node: string): Promise<Side> {
    const own = join(directory, node);
    const archives = join(own, "checkpoints");
    await mkdir(archives, { recursive: true });
    const layout = new Layout(join(own, "kcr"));
    const client = await agentClient(node);
    const port = await freePort();
    const stop = new AbortController();
    const agent = createAgent({
      node,
      client,
      settings: settings.parse({
        store: "node",
        kubelet: { checkpointDirectory: archives },
        local: { directory: layout.root },
        selftest: { enabled: false },
      }),
      kubelet: { host: "127.0.0.1", port: 1, caFile: "/none", token: { get: async () => "" } } as never,
      self: { pod: `agent-${node}`, namespace: SYSTEM },
      transfer: {
        listen: { port, host: "127.0.0.1" },
        find: async (of) => ({ host: "127.0.0.1", port: of === "node-1" ? proxy.port : side(of).port }),
      },
      log: silent,
      now: () => new Date(),
    });
    const running = agent.run(stop.signal);
    running.catch(() => {});
    await waitFor(`the agent of ${node} to answer others`, () => answers(port));
    return { client, directory: own, store: new LocalStore(layout), port, stop, running };
  }

  const archiveOf = (checkpointData: string): string =>
    join(side("node-1").directory, "checkpoints", checkpointData);

  /** A good Checkpoint of the first node, with its copy there. */
  async function taken(name: string, more: CheckpointStatus = {}): Promise<Checkpoint> {
    const checkpointData = `checkpoint-cache_${namespace}-app-2026-01-01T12:00:00Z-${name}.tar`;
    const archive = archiveOf(checkpointData);
    await writeCheckpoint(`${archive}.kept`, {
      podName: "cache",
      podNamespace: namespace,
      podUid: `pod-of-${namespace}`,
      containerName: "app",
      containerId: `containerd-${name}`.padEnd(64, "0"),
      pages: randomContent(64 * MiB),
    });
    await link(`${archive}.kept`, archive);
    const checkpoint = await admin.create(checkpoints, {
      metadata: { name, namespace },
      spec: {
        checkpointData,
        checkpointTimestamp: "2026-01-01T12:00:00Z",
        checkpointID: name,
        containerName: "app",
        nodeName: "node-1",
      },
    });
    await writeStatus(admin, checkpoints, checkpoint, {
      phase: "Created",
      handler: "kcr",
      lineage: {
        podUID: `pod-of-${namespace}`,
        containerID: `containerd-${name}`.padEnd(64, "0"),
        restartCount: 0,
      },
      ...more,
    });
    return await waitFor(`Checkpoint ${name} to be good`, async () => {
      const now = await admin.get(checkpoints, { namespace, name });
      return isGood(now) && now;
    });
  }

  /** A person's wish, as far as the operator has brought it: the agent of that node is to have a copy. */
  async function wanted(
    checkpoint: Checkpoint,
    node: string,
    phase: RestorePhase = "Restoring",
  ): Promise<CheckpointRestore> {
    const { name } = checkpoint.metadata;
    const pod = { name: "cache" };
    const restore = await admin.create(restores, {
      metadata: { name: `${name}-on-${node}`, namespace },
      spec: { checkpointName: name, podReference: pod, containerName: "app" },
    });
    return await writeStatus(admin, restores, restore, {
      phase,
      strategy: "Runtime",
      nodeName: node,
      podUID: `other-${namespace}`,
      containerName: "app",
      acceptedTime: new Date().toISOString(),
    });
  }
  const armed = async ({ metadata }: CheckpointRestore) =>
    findCondition((await admin.get(restores, metadata)).status?.conditions, ARMED);
  const copyOf = ({ status }: Checkpoint): string => status!.digest!.replace("sha256:", "");
  /** The file that holds most of a Checkpoint, on the first node. */
  async function pagesOf(checkpoint: Checkpoint): Promise<string> {
    const { store } = side("node-1");
    const { index } = (await store.find(copyOf(checkpoint)))!;
    const { sha256 } = index!.files.find(({ path }) => path === "checkpoint/pages-1.img")!;
    return store.layout.blob(sha256);
  }
  const fetched = (checkpoint: Checkpoint, node: string): Promise<unknown> =>
    waitFor(`a copy on ${node}`, () => side(node).store.has(copyOf(checkpoint)));

  it("agents have certificates of the operator's authority, whose keys are in its Secret alone", async () => {
    const name = { namespace: SYSTEM, name: TRANSFER_AUTHORITY };
    const [secret, bundle] = [await admin.get(secrets, name), await admin.get(configMaps, name)];
    const authorities = fromData(secret.data);
    expect(authorities).toHaveLength(1);
    expect(bundle.data).toEqual({ "ca.crt": authorities[0]!.cert });
    const { items } = await admin.list(certificateSigningRequests);
    expect(items).toHaveLength(NODES.length);
    for (const { spec, status } of items) {
      expect(spec.username).toBe(`system:serviceaccount:${SYSTEM}:kcr-agent`);
      expect(status?.certificate).toBeDefined();
    }
    expect(JSON.stringify(items)).not.toContain("PRIVATE KEY");
    const refused = side("node-1").client.get(secrets, name);
    await expect(refused.catch((error) => isForbidden(error))).resolves.toBe(true);
  });

  it("a copy that a restore needs comes from the node that has it, over three cuts, and is the same", async () => {
    const checkpoint = await taken("one");
    expect(checkpoint.status?.contentDigest).toMatch(/^sha256:/);
    let passed = 0;
    proxy.onDown = (chunk) => {
      passed += chunk.length;
      return proxy.cuts < 3 && passed > (proxy.cuts + 1) * 16 * MiB ? "cut" : chunk;
    };
    await wanted(checkpoint, "node-2");
    await fetched(checkpoint, "node-2");
    expect(proxy.cuts).toBe(3);
    // With what TLS adds, and what was on its way when the connection broke.
    expect(passed).toBeLessThan(64 * MiB + 3 * 8 * MiB);
    const { store } = side("node-2");
    expect(await store.verify(copyOf(checkpoint), never)).toEqual([]);
    const [theirs, own] = await Promise.all(
      [side("node-1").store, store].map(({ layout }) =>
        readFile(join(layout.copy(copyOf(checkpoint)), "copy.json"), "utf8"),
      ),
    );
    expect(own).toBe(theirs);
    expect(await readdir(store.layout.allIncoming)).toEqual([]);
  });

  it("a copy is not handed to a node that nobody wants it on", async () => {
    const checkpoint = await taken("one");
    const { archive, files } = (await side("node-1").store.find(copyOf(checkpoint)))!.index!;
    const identity = await identityOf("node-3");
    const ask = async (file?: CopyFile) => {
      using peer = new Peer({
        node: "node-1",
        host: "127.0.0.1",
        port: side("node-1").port,
        identity: () => identity,
        throttle: new Throttle(),
      });
      if (file === undefined) await peer.index(archive, never);
      else await peer.fetch(archive, file, join(directory, "part"), never);
    };
    await wanted(checkpoint, "node-2");
    await fetched(checkpoint, "node-2");
    await expect(ask()).rejects.toMatchObject({ code: "refused" });
    await expect(ask(files[0])).rejects.toMatchObject({ code: "refused" });
    // Nor with a reason to have another copy, nor with one that is over.
    await wanted(await taken("two"), "node-3");
    const restore = await wanted(checkpoint, "node-3", "Completed");
    await expect(ask(files[0])).rejects.toMatchObject({ code: "refused" });

    await admin.delete(restores, restore.metadata);
    await wanted(checkpoint, "node-3");
    await ask();
  });

  it("a copy is not handed to the node whose own Checkpoint says, by its agent's word, that it is of that archive", async () => {
    const checkpoint = await taken("one");
    const { client } = side("node-3");
    const forged = await client.create(checkpoints, {
      metadata: { name: "forged", namespace },
      spec: { ...checkpoint.spec, checkpointID: "forged", nodeName: "node-3" },
    });
    const { digest, contentDigest, lineage, conditions } = checkpoint.status!;
    const copies = [{ kind: "Node", node: "node-1" }];
    const status = { phase: "Created", digest, contentDigest, lineage, conditions, copies };
    const refusal = await waitFor("an answer to what is forged", async () => {
      const current = await admin.get(checkpoints, forged.metadata);
      await writeStatus(client, checkpoints, current, status);
      const restore = await wanted(forged, "node-3");
      const answer = await waitFor("the refusal", async () => {
        const seen = await armed(restore);
        return seen?.status === "False" && seen;
      });
      await admin.delete(restores, restore.metadata);
      // The honest agent that runs here may take the forged word back before it is asked to act on it.
      return answer.reason !== "CheckpointNotGood" && answer;
    });
    expect(refusal).toMatchObject({ reason: "CopyMissing" });
    expect(refusal.message).toContain("answers 403");
    expect(await side("node-3").store.has(copyOf(checkpoint))).toBe(false);
  });

  it("a copy that was fetched is told of on its node, and comes from there when its own node does not answer", async () => {
    const checkpoint = await taken("one");
    const copy = copyOf(checkpoint);
    await wanted(checkpoint, "node-2");
    await fetched(checkpoint, "node-2");
    const told = async (node: string) => readFetched(await admin.get(nodes, { name: node }));
    await waitFor("node-2 to tell of it", async () => (await told("node-2")).includes(copy));
    expect(await told("node-1")).not.toContain(copy);

    const copies = [
      { kind: "Node", node: "node-1" },
      { kind: "Node", node: "node-2" },
    ];
    await writeStatus(admin, checkpoints, await admin.get(checkpoints, checkpoint.metadata), { copies });
    proxy.onDown = () => "cut";
    await wanted(checkpoint, "node-3");
    await fetched(checkpoint, "node-3");

    await side("node-2").store.remove(copy);
    await waitFor("node-2 to tell of it no more", async () => !(await told("node-2")).includes(copy));
  });

  /** A certificate of an agent of that node, as it is given one. */
  async function identityOf(node: string): Promise<Identity> {
    const { client } = side(node);
    const { request, key } = createRequest({ commonName: node, organizations: [ORGANIZATION] });
    const { metadata } = await client.create(certificateSigningRequests, {
      metadata: { generateName: "test-" },
      spec: {
        request: Buffer.from(request).toString("base64"),
        signerName: TRANSFER_SIGNER,
        usages: TRANSFER_USAGES,
      },
    });
    const cert = (await waitFor("the certificate", async () => {
      const { status } = await client.get(certificateSigningRequests, metadata);
      return status?.certificate && Buffer.from(status.certificate, "base64").toString();
    })) as string;
    const bundle = await client.get(configMaps, { namespace: SYSTEM, name: TRANSFER_AUTHORITY });
    return { cert, key, ca: bundle.data!["ca.crt"]! };
  }

  it("a copy is refused that is not what the Checkpoint's status says", async () => {
    const checkpoint = await taken("one");
    await writeStatus(admin, checkpoints, await admin.get(checkpoints, checkpoint.metadata), {
      contentDigest: `sha256:${"0".repeat(64)}`,
    });
    const restore = await wanted(checkpoint, "node-2");
    await waitFor("the refusal", async () => (await armed(restore))?.status === "False");
    expect(await armed(restore)).toMatchObject({ status: "False", reason: "CopyCorrupt" });
    expect(await side("node-2").store.has(copyOf(checkpoint))).toBe(false);
  });

  it("a file that its own node's disk has changed is refused; that node hears of it, and makes its copy anew", async () => {
    const checkpoint = await taken("one");
    const { store } = side("node-1");
    const copy = copyOf(checkpoint);
    const archive = archiveOf(checkpoint.spec.checkpointData);
    await waitFor("the archive to be released", () =>
      access(archive).then(
        () => false,
        () => true,
      ),
    );
    await link(`${archive}.kept`, archive);
    await flip(await pagesOf(checkpoint));

    const restore = await wanted(checkpoint, "node-2");
    await waitFor("the refusal", async () => (await armed(restore))?.status === "False");
    expect(await armed(restore)).toMatchObject({ reason: "CopyCorrupt" });
    expect(await side("node-2").store.has(copy)).toBe(false);
    await waitFor("the copy to be whole again", async () => {
      return (await store.has(copy)) && (await store.verify(copy, never)).length === 0;
    });

    await admin.delete(restores, restore.metadata);
    await wanted(checkpoint, "node-2");
    await fetched(checkpoint, "node-2");
    expect(await side("node-2").store.verify(copy, never)).toEqual([]);
  });

  it("of a copy that another node found damaged, and that cannot be made anew, its Checkpoint says so", async () => {
    const checkpoint = await taken("one");
    await flip(await pagesOf(checkpoint));
    await wanted(checkpoint, "node-2");
    const lost = await waitFor("the Checkpoint to say so", async () => {
      const now = await admin.get(checkpoints, checkpoint.metadata);
      return !isGood(now) && now;
    });
    expect(findCondition(lost.status?.conditions, LOCAL_COPY)).toMatchObject({
      status: "False",
      reason: "CopyCorrupt",
    });
    expect(lost.status?.copies).toEqual([]);
  });

  it("an agent is given no certificate for another node, and asks for none of another signer", async () => {
    const ask = (node: string, signerName = TRANSFER_SIGNER) =>
      side("node-1").client.create(certificateSigningRequests, {
        metadata: { generateName: "test-" },
        spec: {
          request: Buffer.from(
            createRequest({ commonName: node, organizations: [ORGANIZATION] }).request,
          ).toString("base64"),
          signerName,
          usages: TRANSFER_USAGES,
        },
      });
    const { metadata } = await ask("node-2");
    const denied = await waitFor<CertificateSigningRequest>("the answer", async () => {
      const now = await admin.get(certificateSigningRequests, metadata);
      return now.status?.conditions !== undefined && now;
    });
    expect(denied.status).toMatchObject({ conditions: [{ type: "Denied" }] });
    expect(denied.status?.certificate).toBeUndefined();
    for (const signer of ["kubernetes.io/kube-apiserver-client", "example.com/other"]) {
      await expect(ask("node-1", signer).catch((error) => isForbidden(error))).resolves.toBe(true);
    }
    for (const subresource of ["approval", "status"]) {
      const body = { status: { conditions: [] } };
      const changing = side("node-1").client.patch(
        certificateSigningRequests,
        metadata,
        { type: "merge", body },
        { subresource },
      );
      await expect(changing.catch((error) => isForbidden(error))).resolves.toBe(true);
    }
  });
});

/** Whether someone who shows no certificate is at least heard. */
const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
    socket.on("secureConnect", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("close", () => resolve(false));
  });

async function flip(path: string): Promise<void> {
  await using file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, 40 * MiB);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, 40 * MiB);
}
