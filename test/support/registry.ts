import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureBinaries } from "../../cluster/binaries.ts";
import { createAuthority, issue } from "../../cluster/pki.ts";
import { startTokenService, type TokenService } from "./token-service.ts";
import { waitFor } from "./wait-for.ts";

export interface RegistryOptions {
  /** Default none. */
  auth?: "none" | "basic" | "token";
  /** Serve HTTPS with a certificate of an authority of its own. Default false. */
  tls?: boolean;
  /** The address of this machine at which it listens. Default 127.0.0.1. */
  host?: string;
  /** Whom its certificate names. Default that address and localhost. */
  names?: readonly string[];
  /** Whether manifests can be deleted. Default true. */
  deletes?: boolean;
}

/** A distribution registry of the pinned version, on loopback unless told otherwise, with its data in a temporary directory. */
export interface TestRegistry {
  /** "<host>:<port>". */
  readonly address: string;
  readonly port: number;
  readonly plainHttp: boolean;
  /** PEM of the authority behind its certificate, with `tls`. */
  readonly ca: string | undefined;
  /** What it takes, with `auth`. */
  readonly credentials: { username: string; password: string } | undefined;
  readonly tokens: TokenService | undefined;
  /** Where it keeps blobs, links and uploads. */
  readonly data: string;
  /** Its log so far. */
  log(): Promise<string>;
  /** SIGKILL; the data stays. */
  kill(): Promise<void>;
  /** Starts it again at the same address. */
  start(): Promise<void>;
  /** Ends it and removes its data. */
  stop(): Promise<void>;
}

const CREDENTIALS = { username: "kcr", password: "checkpoint-push" };
/** The password above by bcrypt, the only hash the registry takes. */
const HTPASSWD = `${CREDENTIALS.username}:$2a$04$rz5ELVyRN.eCk9wAdA2a..J4I1HUyW512iBNXK30V4WwIJiyihTHC\n`;

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const { auth = "none", tls = false, host = "127.0.0.1", deletes = true } = options;
  const { names = [host, "localhost"] } = options;
  const { "registry/registry": binary } = await ensureBinaries(["registry/registry"]);
  const directory = await mkdtemp(join(tmpdir(), "kcr-registry-"));
  const logFile = join(directory, "log");
  const configFile = join(directory, "config.yml");
  const ca = tls ? await writeCertificates(directory, names) : undefined;
  const tokens = auth === "token" ? await startTokenService({ credentials: CREDENTIALS, host }) : undefined;
  await writeFile(join(directory, "htpasswd"), HTPASSWD);
  if (tokens) await writeFile(join(directory, "jwks.json"), JSON.stringify(tokens.jwks));

  let child: ChildProcess | undefined;
  let port = 0;

  /** Its configuration format is YAML, of which JSON is a part. */
  const config = () => ({
    version: "0.1",
    log: { level: "info" },
    storage: {
      filesystem: { rootdirectory: join(directory, "data") },
      delete: { enabled: deletes },
      maintenance: { uploadpurging: { enabled: false } },
    },
    http: {
      addr: `${host}:${port}`,
      // Known, so that uploads survive a restart, as with any registry set up for more than one replica.
      secret: "shared by all replicas",
      ...(tls && { tls: { certificate: join(directory, "tls.crt"), key: join(directory, "tls.key") } }),
    },
    ...(auth === "basic" && { auth: { htpasswd: { realm: "kcr", path: join(directory, "htpasswd") } } }),
    ...(tokens && {
      auth: {
        token: {
          realm: tokens.realm,
          service: tokens.service,
          issuer: tokens.issuer,
          jwks: join(directory, "jwks.json"),
        },
      },
    }),
  });

  const start = async () => {
    await writeFile(configFile, JSON.stringify(config()));
    const log = openSync(logFile, "w");
    const started = spawn(binary!, ["serve", configFile], { stdio: ["ignore", log, log] });
    child = started;
    port = await waitFor(
      "the registry to listen",
      async () => {
        const text = await readFile(logFile, "utf8");
        if (started.exitCode !== null) throw new Error(text.slice(-2000));
        return Number(/listening on [\d.]+:(\d+)/.exec(text)?.[1]) || undefined;
      },
      { intervalMs: 20, timeoutMs: 20_000 },
    );
  };
  const kill = async () => {
    const running = child;
    child = undefined;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    const exited = once(running, "exit");
    running.kill("SIGKILL");
    await exited;
  };
  const stop = async () => {
    await kill();
    await tokens?.stop();
    await rm(directory, { recursive: true, force: true });
  };

  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    address: `${host}:${port}`,
    port,
    plainHttp: !tls,
    ca,
    credentials: auth === "none" ? undefined : CREDENTIALS,
    tokens,
    data: join(directory, "data"),
    log: () => readFile(logFile, "utf8"),
    kill,
    start,
    stop,
  };
}

/** Returns the authority's certificate. */
async function writeCertificates(directory: string, names: readonly string[]): Promise<string> {
  const authority = createAuthority("kcr test registry");
  const { cert, key } = issue(authority, { commonName: "registry", names });
  await writeFile(join(directory, "tls.crt"), cert);
  await writeFile(join(directory, "tls.key"), key, { mode: 0o600 });
  return authority.cert;
}
