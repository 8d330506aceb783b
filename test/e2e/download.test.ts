import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { type Checkpoint, RUNTIME_HANDLER } from "../../src/api/checkpoint.ts";
import { downloadPath } from "../../src/api/download.ts";
import { checkpoints, downloads } from "../../src/api/kinds.ts";
import { createToken, createTokenKey, openToken } from "../../src/api/sealed-token.ts";
import { openRemote } from "../../src/cli/download/fetch.ts";
import { askFor, type Grant, giveBack } from "../../src/cli/download/grant.ts";
import type { Io } from "../../src/cli/io.ts";
import { run } from "../../src/cli/program.ts";
import { Client } from "../../src/kube/client.ts";
import { isForbidden } from "../../src/kube/errors.ts";
import { forwardPort } from "../../src/kube/port-forward.ts";
import {
  type KubeObject,
  namespaces,
  type ObjectName,
  type Pod,
  pods,
  resource,
  serviceAccounts,
} from "../../src/kube/resources.ts";
import { absent } from "../../src/kube/write.ts";
import { Installation } from "../support/installation.ts";
import { makeNamespace } from "../support/namespace.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, redis, redisCommand, World } from "../support/world.ts";

const cluster = inject("cluster");
const rbac = { group: "rbac.authorization.k8s.io", version: "v1" };
const roleBindings = resource<KubeObject>({ ...rbac, plural: "rolebindings", kind: "RoleBinding" });
const never = new AbortController().signal;
const MiB = 1024 * 1024;
const DOWNLOAD = "kcr-download";

describe.skipIf(cluster === undefined)("a person who wants the bytes of a Checkpoint", () => {
  let world: World;
  let kcr: Installation;
  let directory: string;
  /** One whose node has a copy; of the other there is the image only. */
  let [onNode, inRegistry] = [{} as Checkpoint, {} as Checkpoint];
  /** A download that ends while the tests run. */
  let short: { name: ObjectName; token: string };
  /** May edit the namespace; and may read its memory besides. */
  let editor: Person;
  let reader: Person;

  interface Person {
    client: Client;
    kubeconfig: string;
  }

  beforeAll(async () => {
    world = await World.enter(cluster!, "download");
    kcr = new Installation(world);
    directory = await mkdtemp(join(tmpdir(), "kcr-download-"));
    [editor, reader] = await Promise.all([person("editor"), person("reader")]);
    await bind("editor", world.namespace, "ClusterRole", "edit");
    await bind("editor", world.namespace, "ClusterRole", "kcr-operate");
    await bind("reader", world.namespace, "ClusterRole", "kcr-read-memory");
    await bind("reader", DOWNLOAD, "Role", "kcr-read-memory");
    [onNode, inRegistry] = await Promise.all([takenOnNode(), takenInRegistry()]);
    short = await offeredFor(30);
  });
  afterAll(async () => {
    for (const { client } of [editor, reader]) client.close();
    await world.client.delete(roleBindings, { namespace: DOWNLOAD, name: bindingName("reader") });
    await rm(directory, { recursive: true });
    await world.leave();
  });

  /** Of a program with 48 MiB in its memory. */
  async function takenOnNode(): Promise<Checkpoint> {
    const pod = await world.deploy({
      name: "cache",
      by: "handler",
      schedule: RARELY,
      containers: [redis(world)],
      // Said here, for a busy machine may make it without asking the webhook.
      podSpec: { runtimeClassName: RUNTIME_HANDLER },
    });
    const filled = await redisCommand(pod.status?.podIP ?? "", `SETRANGE filled ${48 * MiB} x`);
    expect(filled).toBe(`:${48 * MiB + 1}`);
    const { metadata } = await world.checkpoint(pod);
    return await waitFor("a copy on the node", async () => {
      const now = await world.client.get(checkpoints, metadata);
      return now.status?.contentDigest !== undefined && now;
    });
  }
  const takenInRegistry = async (): Promise<Checkpoint> =>
    await world.checkpoint(await world.deploy({ name: "small", containers: [counter(world)] }));

  async function offeredFor(ttlSeconds: number): Promise<typeof short> {
    const key = createTokenKey();
    const name = { namespace: world.namespace, name: "short" };
    const spec = { checkpointName: inRegistry.metadata.name, publicKey: key.publicKey, ttlSeconds };
    await reader.client.create(downloads, { metadata: name, spec });
    return await waitFor("an offer", async () => {
      const { metadata, status } = await world.client.get(downloads, name);
      return (
        status?.sealedToken !== undefined && { name, token: openToken(status.sealedToken, key, metadata) }
      );
    });
  }

  /** A person with an account of the namespace's, and no rights yet. */
  async function person(name: string): Promise<Person> {
    const account = { namespace: world.namespace, name };
    await world.client.create(serviceAccounts, { metadata: account });
    const path = `/api/v1/namespaces/${world.namespace}/serviceaccounts/${name}/token`;
    const body = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { expirationSeconds: 3600 },
    };
    const { status } = await world.client.request<{ status: { token: string } }>("POST", path, { body });
    const { clusters } = JSON.parse(await readFile(world.cluster.kubeconfigPath, "utf8"));
    const { server, "certificate-authority-data": ca } = clusters[0].cluster;
    const file = join(directory, `${name}.kubeconfig`);
    const config = kubeconfig({ url: server, ca: Buffer.from(ca, "base64").toString() }, status);
    await writeFile(file, config, { mode: 0o600 });
    return { client: Client.fromConfig({ kubeconfig: file }), kubeconfig: file };
  }

  const bindingName = (name: string): string => `${name}-of-${world.namespace}`;
  async function bind(
    name: string,
    namespace: string,
    kind: "Role" | "ClusterRole",
    role: string,
  ): Promise<void> {
    await world.client.create(roleBindings, {
      metadata: { namespace, name: namespace === DOWNLOAD ? bindingName(name) : `${name}-${role}` },
      roleRef: { apiGroup: rbac.group, kind, name: role },
      subjects: [{ kind: "ServiceAccount", name, namespace: world.namespace }],
    } as KubeObject);
  }

  /** The command as it is typed: what it ends with, and what it said. */
  async function kcrCommand(who: Person, args: string[], signal = never) {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const io: Io = {
      stdin: new PassThrough(),
      stdout,
      stderr,
      env: {},
      signal,
      colour: false,
      terminal: { in: false, out: false, err: false },
      exitCode: 0,
      program: "kcr",
    };
    const [out, err] = [text(stdout), text(stderr)];
    const code = await run(io, ["--kubeconfig", who.kubeconfig, "-n", world.namespace, ...args]);
    stdout.end();
    stderr.end();
    return { code, out: await out, err: await err };
  }

  const digestOf = async (file: string): Promise<string> =>
    `sha256:${createHash("sha256")
      .update(await readFile(file))
      .digest("hex")}`;
  const left = async (): Promise<string[]> =>
    (await world.client.list(downloads, { namespace: world.namespace })).items
      .map(({ metadata }) => metadata.name)
      .filter((name) => name !== short.name.name);

  it("has the archive from the node that has a copy, byte for byte", async () => {
    const file = join(directory, "node.tar");
    const { code, out } = await kcrCommand(reader, ["download", onNode.metadata.name, "-o", file]);
    expect(code).toBe(0);
    expect(out).toContain(`from node ${onNode.spec.nodeName}`);
    expect(await digestOf(file)).toBe(onNode.status?.digest);
    expect((await stat(file)).size).toBe(onNode.status?.sizeBytes);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readdir(directory)).not.toContain("node.tar.part");
    expect(await left()).toEqual([]);
    await world.event("DownloadOffered", onNode.metadata.name);

    const again = await kcrCommand(reader, ["download", onNode.metadata.name, "-o", file]);
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining("FileExists") });
    expect((await kcrCommand(reader, ["download", onNode.metadata.name, "-o", file, "--force"])).code).toBe(
      0,
    );
  });

  it("has it from the registry, byte for byte", async () => {
    const file = join(directory, "registry.tar");
    const { code, out } = await kcrCommand(reader, ["download", inRegistry.metadata.name, "-o", file]);
    expect([code, out]).toEqual([0, expect.stringContaining("from registry")]);
    expect(await digestOf(file)).toBe(inRegistry.status?.digest);
  });

  it("stops it, and goes on from there", async () => {
    const file = join(directory, "stopped.tar");
    const stop = new AbortController();
    const running = kcrCommand(reader, ["download", onNode.metadata.name, "-o", file], stop.signal);
    const part = () => stat(`${file}.part`).catch(() => undefined);
    await waitFor("some of it", async () => ((await part())?.size ?? 0) > 0, { intervalMs: 1 });
    stop.abort(new Error("Ctrl-C"));
    const stopped = await running;
    expect(stopped).toMatchObject({ code: 130, err: expect.stringContaining("goes on from there") });
    const { size } = await stat(`${file}.part`);
    expect(size).toBeGreaterThan(0);
    expect(size).toBeLessThan(onNode.status?.sizeBytes ?? 0);
    expect(await readdir(directory)).not.toContain("stopped.tar");
    expect(await left()).toEqual([]);

    expect((await kcrCommand(reader, ["download", onNode.metadata.name, "-o", file])).code).toBe(0);
    expect(await digestOf(file)).toBe(onNode.status?.digest);
  });

  it("has all of it though the download part dies in the middle, and only what is asked for when it is read in place", async () => {
    await using remote = await openRemote(reader.client, onNode.metadata, never);
    const part = await remote.read(remote.size - 1024, 1024);
    expect(part.equals(Buffer.alloc(1024))).toBe(true);
    const hash = createHash("sha256");
    let bytes = 0;
    let killed = false;
    for await (const chunk of remote.stream(0)) {
      hash.update(chunk);
      bytes += chunk.length;
      if (killed || bytes < MiB) continue;
      killed = true;
      await kcr.signal(await downloadPart(), "SIGKILL");
    }
    expect(`sha256:${hash.digest("hex")}`).toBe(onNode.status?.digest);
    expect(bytes).toBe(remote.size);
  });

  const downloadPart = (): Promise<Pod> =>
    waitFor("the download part", async () => {
      const { items } = await world.client.list(pods, { namespace: DOWNLOAD });
      return items.find(({ metadata }) => metadata.deletionTimestamp === undefined);
    });

  /** What the download part answers, as a status, to who is at its port. */
  const answered = async (grant: Grant, shown: { token?: string; path?: string }): Promise<number> => {
    const stream = await forwardPort(reader.client, grant.pod, grant.port);
    try {
      return await new Promise((resolve, reject) => {
        const headers = shown.token === undefined ? {} : { authorization: `Bearer ${shown.token}` };
        const asked = request({ createConnection: () => stream, path: shown.path ?? grant.path, headers });
        asked
          .on("response", (answer) => resolve(answer.statusCode ?? 0))
          .on("error", reject)
          .end();
      });
    } finally {
      stream.destroy();
    }
  };

  it("shows the token of what was asked for, while it lasts; any other opens nothing", async () => {
    const [own, other] = [
      await askFor(reader.client, onNode.metadata, never),
      await askFor(reader.client, inRegistry.metadata, never),
    ];
    const { token, path } = own;
    expect(await answered(own, { token })).toBe(200);
    for (const shown of [
      {},
      { token: createToken() },
      { token: other.token },
      { token, path: other.path },
      { token, path: downloadPath("default", own.name.name) },
    ]) {
      expect(await answered(own, shown)).toBe(401);
    }
    const sealed = (await world.client.get(downloads, own.name)).status;
    expect(JSON.stringify(sealed)).not.toContain(token);
    await giveBack(reader.client, own.name);
    expect(await answered(own, { token })).toBe(401);
    expect(await answered(other, { token, path })).toBe(401);
    await giveBack(reader.client, other.name);
  });

  it("is nobody from the network", async () => {
    const { status } = await downloadPart();
    const refused = await new Promise((resolve) => {
      connect(8445, status?.podIP ?? "")
        .on("connect", () => resolve("connected"))
        .on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    expect(refused).toBe("ECONNREFUSED");
  });

  describe("with rights", () => {
    it("to edit alone reads no memory, and reaches no part of kcr", async () => {
      const { code, err } = await kcrCommand(editor, [
        "download",
        onNode.metadata.name,
        "-o",
        join(directory, "x"),
      ]);
      expect(code).toBe(1);
      expect(err).toContain("DownloadForbidden");
      const parts = [await kcr.leader(), await kcr.agent(onNode.spec.nodeName), await downloadPart()];
      for (const { metadata } of parts) {
        const reaching = forwardPort(editor.client, metadata, 8081).then((stream) => stream.destroy());
        await expect(reaching, metadata.name).rejects.toSatisfy(isForbidden);
      }
    });

    it("to read memory reaches the download part, and neither operator nor agent, nor another namespace", async () => {
      for (const { metadata } of [await kcr.leader(), await kcr.agent(onNode.spec.nodeName)]) {
        const reaching = forwardPort(reader.client, metadata, 8081).then((stream) => stream.destroy());
        await expect(reaching, metadata.name).rejects.toSatisfy(isForbidden);
      }
      const elsewhere = await makeNamespace(world.client, "elsewhere");
      const asking = askFor(reader.client, { namespace: elsewhere, name: onNode.metadata.name }, never);
      await expect(asking).rejects.toMatchObject({ code: "DownloadForbidden" });
      const listing = reader.client.list(downloads, { namespace: elsewhere });
      await expect(listing).rejects.toSatisfy(isForbidden);
      const body = { type: "merge" as const, body: { status: { tokenHash: "0".repeat(64) } } };
      const forging = reader.client.patch(downloads, { namespace: world.namespace, name: "x" }, body, {
        subresource: "status",
      });
      await expect(forging).rejects.toSatisfy(isForbidden);
      await world.client.delete(namespaces, { name: elsewhere });
    });

    it("in the namespace but not to the port is told which", async () => {
      const half = await person("half");
      await bind("half", world.namespace, "ClusterRole", "kcr-read-memory");
      const opening = openRemote(half.client, onNode.metadata, never);
      await expect(opening).rejects.toMatchObject({
        code: "DownloadForbidden",
        message: expect.stringContaining("forward a port"),
      });
      half.client.close();
      expect(await left()).toEqual([]);
    });
  });

  it("has nothing more of a download whose time is over", async () => {
    await waitFor(
      "it to go",
      async () => (await world.client.get(downloads, short.name).catch(absent)) === undefined,
    );
    const grant = await askFor(reader.client, inRegistry.metadata, never);
    const path = downloadPath(world.namespace, short.name.name);
    expect(await answered(grant, { token: short.token, path })).toBe(401);
    await giveBack(reader.client, grant.name);
  });
});
