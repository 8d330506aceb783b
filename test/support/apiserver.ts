import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBinaries } from "../../cluster/binaries.ts";
import { kubeconfig } from "../../cluster/kubeconfig.ts";
import { createAuthority, createKey, issue } from "../../cluster/pki.ts";
import { type Progress, silent } from "../../cluster/progress.ts";
import { lastLines } from "../../cluster/run.ts";
import { freePorts } from "./free-ports.ts";
import { waitFor } from "./wait-for.ts";

/** A real kube-apiserver with its own etcd, on loopback. There are no controllers and no nodes behind it. */
export interface ApiServer {
  /** Path of an administrator's kubeconfig (group system:masters). */
  readonly kubeconfig: string;
  /** `https://127.0.0.1:<port>`. */
  readonly url: string;
  /** Path of the certificate of the authority that signed the server's certificate. */
  readonly caFile: string;
  /** etcd's HTTP gateway, for what the API does not offer: compaction, for one. */
  readonly etcdUrl: string;
  /** Path of a new kubeconfig for a user with nothing but what RBAC gives to the name and its groups. */
  userKubeconfig(name: string, groups?: readonly string[]): Promise<string>;
  /** Makes etcd forget all revisions but the newest, so that old watches and pages end in 410 Gone. */
  compact(): Promise<void>;
  /** Ends the API server (SIGKILL: open connections break); data and address stay for `start`. */
  kill(): Promise<void>;
  /** Starts it again after `kill` and waits until it is ready. */
  start(): Promise<void>;
  /** `kill` and `start`. */
  restart(): Promise<void>;
  /** Ends etcd (SIGKILL) and starts it again with its data, the API server left to find out. */
  restartEtcd(): Promise<void>;
  /** Ends API server and etcd and removes everything. */
  stop(): Promise<void>;
}

export interface ApiServerOptions {
  /** More flags for kube-apiserver. */
  flags?: readonly string[];
  progress?: Progress;
  /** How long each of etcd and the API server may take to become ready, in milliseconds. */
  readyMs?: number;
}

/**
 * Starts an API server of its own, with RBAC on. Needs no root. Namespaces that are deleted stay (no
 * controllers), and pods need no service account.
 *
 * Errors: a part that ends or is not ready in time is named, with the tail of its log.
 */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const { flags = [], progress = silent, readyMs = 60_000 } = options;
  const binaries = await ensureBinaries(["etcd/etcd", "kubernetes/kube-apiserver"], { progress });
  const dir = await mkdtemp(join(tmpdir(), "kcr-apiserver-"));
  const [port, etcdPort, peerPort] = await freePorts(3);
  const url = `https://127.0.0.1:${port}`;
  const etcdUrl = `http://127.0.0.1:${etcdPort}`;

  const authority = createAuthority("kcr test ca");
  const write = async (name: string, content: string) => {
    await writeFile(join(dir, name), content, { mode: 0o600 });
    return join(dir, name);
  };
  const serving = issue(authority, { commonName: "kube-apiserver", names: ["127.0.0.1", "localhost"] });
  const serviceAccounts = createKey();
  const caFile = await write("ca.crt", authority.cert);
  const certFile = await write("apiserver.crt", serving.cert);
  const keyFile = await write("apiserver.key", serving.key);
  const signingKeyFile = await write("sa.key", serviceAccounts.key);
  const verifyingKeyFile = await write("sa.pub", serviceAccounts.publicKey);
  const userKubeconfig = (name: string, groups: readonly string[] = []) => {
    const user = issue(authority, { commonName: name, organizations: groups });
    const file = `${encodeURIComponent(name)}-${process.hrtime.bigint()}.kubeconfig`;
    return write(file, kubeconfig({ url, ca: authority.cert }, user));
  };

  const etcd = part(dir, "etcd", [
    binaries["etcd/etcd"]!,
    `--data-dir=${join(dir, "etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-cluster=default=http://127.0.0.1:${peerPort}`,
    "--unsafe-no-fsync",
    "--log-level=warn",
  ]);
  const apiServer = part(dir, "kube-apiserver", [
    binaries["kubernetes/kube-apiserver"]!,
    `--etcd-servers=${etcdUrl}`,
    `--secure-port=${port}`,
    "--bind-address=127.0.0.1",
    "--advertise-address=127.0.0.1",
    `--cert-dir=${dir}`,
    `--tls-cert-file=${certFile}`,
    `--tls-private-key-file=${keyFile}`,
    `--client-ca-file=${caFile}`,
    `--service-account-issuer=https://kubernetes.default.svc`,
    `--service-account-signing-key-file=${signingKeyFile}`,
    `--service-account-key-file=${verifyingKeyFile}`,
    "--service-cluster-ip-range=10.0.0.0/24",
    "--endpoint-reconciler-type=none",
    "--authorization-mode=RBAC",
    "--disable-admission-plugins=ServiceAccount",
    "--allow-privileged=true",
    "--enable-priority-and-fairness=false",
    ...flags,
  ]);

  const start = async () => {
    apiServer.start();
    // post-start hooks (RBAC bootstrap, API discovery) are part of readyz
    await apiServer.ready(readyMs, () => answersOk(`${url}/readyz`, authority.cert));
  };
  const startEtcd = async () => {
    etcd.start();
    await etcd.ready(readyMs, async () => (await fetch(`${etcdUrl}/health`)).ok);
  };
  const stop = async () => {
    await apiServer.end();
    await etcd.end();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await progress.task("starting an API server", async () => {
      await startEtcd();
      await start();
    });
    const admin = await userKubeconfig("admin", ["system:masters"]);
    return {
      kubeconfig: admin,
      url,
      caFile,
      etcdUrl,
      userKubeconfig,
      compact: () => compact(etcdUrl),
      kill: () => apiServer.end(),
      start,
      restart: async () => {
        await apiServer.end();
        await start();
      },
      restartEtcd: async () => {
        await etcd.end();
        await startEtcd();
        // Its connections are made anew with pauses.
        await apiServer.ready(readyMs, () => answersOk(`${url}/readyz`, authority.cert));
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A process of the API server's, with its log in `<dir>/<name>.log`. */
function part(dir: string, name: string, argv: readonly string[]) {
  const logFile = join(dir, `${name}.log`);
  let child: ChildProcess | undefined;
  const gone = (process: ChildProcess) => process.exitCode !== null || process.signalCode !== null;
  const killNow = () => child?.kill("SIGKILL");
  return {
    start() {
      const log = openSync(logFile, "a");
      child = spawn(argv[0]!, argv.slice(1), { stdio: ["ignore", log, log] });
      closeSync(log);
      child.on("error", () => {});
      process.once("exit", killNow);
    },
    async ready(timeoutMs: number, probe: () => Promise<boolean>) {
      const failed = async (why: string, cause?: unknown) => {
        const log = await readFile(logFile, "utf8").catch(() => "");
        return new Error(`${name} ${why}:\n${lastLines(log)}`, { cause });
      };
      let ended = false;
      await waitFor(
        `${name} to be ready`,
        async () => {
          ended = child === undefined || child.pid === undefined || gone(child);
          return ended || (await probe());
        },
        { timeoutMs, intervalMs: 50 },
      ).catch(async (error: unknown) => {
        throw await failed("was not ready in time", error);
      });
      if (ended) throw await failed("ended");
    },
    async end() {
      process.off("exit", killNow);
      if (child === undefined || child.pid === undefined || gone(child)) return;
      const over = new Promise((resolve) => child?.once("exit", resolve));
      child.kill("SIGKILL");
      await over;
    },
  };
}

function answersOk(url: string, ca: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request(url, { ca, agent: false, timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(false));
    asked.end();
  });
}

async function compact(etcdUrl: string): Promise<void> {
  const post = async (path: string, body: object) => {
    const response = await fetch(etcdUrl + path, { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`etcd ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as { header: { revision: string } };
  };
  const { header } = await post("/v3/kv/range", {
    key: Buffer.from("/").toString("base64"),
    count_only: true,
  });
  await post("/v3/kv/compaction", { revision: header.revision, physical: true });
}
