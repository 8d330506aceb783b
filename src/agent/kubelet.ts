import { readFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { basename } from "node:path";
import { Agent } from "undici";
import { z } from "zod";
import { labelName, objectName } from "../api/common.ts";
import { type ErrorCode, KcrError } from "../api/errors.ts";
import { archiveName } from "./archives.ts";
import type { TokenSource } from "./token/token.ts";

/** Which kubelet, and how it is known to be the right one. */
export interface KubeletOptions {
  /** Address of the node. */
  host: string;
  port: number;
  /** PEM file with the CA of the kubelet's serving certificate; read for every call, for it may be rotated. */
  caFile: string;
  insecureSkipVerify?: boolean;
  /** What the kubelet is shown; asked for every call. */
  token: TokenSource;
}

/** A container as the kubelet names it. */
export interface Target {
  namespace: string;
  pod: string;
  container: string;
}

/** What the kubelet did not do, and how often it is worth asking again. */
export class KubeletError extends KcrError {
  readonly retries: number;

  constructor(code: ErrorCode, message: string, retries = 0, options?: ErrorOptions) {
    super(code, message, options);
    this.name = "KubeletError";
    this.retries = retries;
  }
}

/** Longest text of the kubelet that is kept, in characters, and longest body that is read, in bytes. */
const MAX_TEXT = 2000;
const MAX_BODY = 64 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** How often the runtime is asked again after an error that it is known to recover from. */
const RUNTIME_RETRIES = 4;
/** How often CRIU is asked again. */
const CRIU_RETRIES = 2;

const answer = z.object({ items: z.array(z.string().max(4096)).length(1) });

/**
 * Has the kubelet checkpoint one container, and gives the name of the archive in its checkpoint directory. The
 * call lasts as long as the dump; the container runs on afterwards. `timeoutSeconds` is what the runtime is
 * given (the kubelet raises it to its runtimeRequestTimeout), not a limit on the call.
 *
 * Source: kubelet checkpoint API, https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/
 *
 * Errors: {@link KubeletError}; a TypeError for names that could lead elsewhere; the signal's reason.
 */
export async function checkpoint(
  kubelet: KubeletOptions,
  target: Target,
  timeoutSeconds: number,
  signal?: AbortSignal,
): Promise<string> {
  const path = checkpointPath(target, timeoutSeconds);
  const token = await kubelet.token.get(signal);
  // The dump may take longer than any timeout on silence; undici's default ends a call after 300 s.
  await using agent = disposable(
    new Agent({
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: {
        timeout: CONNECT_TIMEOUT_MS,
        ca: await readFile(kubelet.caFile, "utf8"),
        rejectUnauthorized: kubelet.insecureSkipVerify !== true,
      },
    }),
  );
  let status: number;
  let body: string;
  try {
    const response = await agent.request({
      origin: `https://${isIPv6(kubelet.host) ? `[${kubelet.host}]` : kubelet.host}:${kubelet.port}`,
      path,
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      signal,
    });
    status = response.statusCode;
    body = await readText(response.body);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw connectionError(error);
  }
  // Of an account that was made anew since, perhaps.
  if (status === 401) kubelet.token.forget(token);
  if (status !== 200) throw answerError(status, body);
  return fileOf(body);
}

/** Path and query of the call. Errors: a TypeError for a name that is none. */
export function checkpointPath({ namespace, pod, container }: Target, timeoutSeconds: number): string {
  for (const [name, schema] of [
    [namespace, labelName],
    [pod, objectName],
    [container, labelName],
  ] as const) {
    if (!schema.safeParse(name).success) throw new TypeError(`${JSON.stringify(name)} is not a name`);
  }
  const timeout = Math.max(1, Math.ceil(timeoutSeconds));
  return `/checkpoint/${namespace}/${pod}/${container}?timeout=${timeout}`;
}

const disposable = (agent: Agent) =>
  Object.assign(agent, { [Symbol.asyncDispose]: () => agent.destroy() }) as Agent & AsyncDisposable;

/** The beginning of a body: what is longer is no answer of a kubelet's. */
async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MAX_BODY) break;
  }
  return Buffer.concat(chunks).toString("utf8");
}

function fileOf(body: string): string {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (cause) {
    throw new KubeletError("CheckpointFailed", `the kubelet's answer is not JSON: ${clean(body)}`, 0, {
      cause,
    });
  }
  const parsed = answer.safeParse(json);
  const name = parsed.success ? archiveName.safeParse(basename(parsed.data.items[0]!)) : undefined;
  if (!name?.success) {
    throw new KubeletError(
      "CheckpointFailed",
      `the kubelet's answer does not name one archive: ${clean(body)}`,
    );
  }
  return name.data;
}

/** Node's names for a certificate that does not hold. */
const UNTRUSTED =
  /^(CERT_|ERR_TLS_CERT_ALTNAME_INVALID$|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_IN_CHAIN$|UNABLE_TO_)/;

/** What a call without a whole answer failed of. */
function connectionError(error: unknown): KubeletError {
  const { code = "", message } = rootCause(error);
  const why = clean(message || code);
  if (UNTRUSTED.test(code)) {
    return new KubeletError("KubeletCertUntrusted", `the kubelet's certificate is not trusted: ${why}`, 0, {
      cause: error,
    });
  }
  // A kubelet that is being started again comes back; the request's deadline is the limit.
  const retries = Number.POSITIVE_INFINITY;
  return new KubeletError("KubeletUnreachable", `the kubelet does not answer: ${why}`, retries, {
    cause: error,
  });
}

function rootCause(error: unknown): NodeJS.ErrnoException {
  const cause = (error as Error | undefined)?.cause;
  if (cause instanceof Error) return rootCause(cause);
  return error instanceof Error ? error : new Error(String(error));
}

/** Errors of a runtime that are over a moment later. */
const PASSING = [
  /cannot pause a paused container/,
  // On cgroup v1, of a container whose processes a busy machine did not get to: runc lets them run on.
  /unable to freeze/,
  /ctrd-checkpoint\/status: no such file or directory/,
  // A runtime that ended meanwhile: it is being started again.
  /code = Unavailable/,
];

/**
 * CRIU gave up, for whatever reason: its log stays on the node. It may be chance - on a busy node with cgroup v1
 * it sometimes waits ten seconds in vain for a frozen process to stop ("Unseizable ... state D").
 */
const CRIU_FAILED = /criu failed: type DUMP/;

/** No CRIU on the node, or a runtime that does not offer it. */
const UNSUPPORTED = [
  /criu\b.*(not found|not installed|no such file|too old|missing|executable file)/i,
  /checkpoint\S* support.* not (available|enabled)/i,
  /code = Unimplemented/,
];

/** What a runtime's disk fails at, by the kernel's own words: another try would fail too. */
export const DISK_ERRORS = [
  ["DiskFull", /no space left on device|disk quota exceeded/i],
  ["DiskReadOnly", /read-only file system/i],
] as const satisfies readonly (readonly [ErrorCode, RegExp])[];

const says = (patterns: readonly RegExp[], text: string): boolean => patterns.some((p) => p.test(text));

/**
 * What an answer other than 200 means.
 * Source of the texts: `checkpoint` in pkg/kubelet/server/server.go of Kubernetes; without the feature gate the
 * path does not exist.
 */
export function answerError(status: number, body: string): KubeletError {
  const text = clean(body);
  if (status === 401 || status === 403) {
    // Worth showing another token, once.
    const retries = status === 401 ? 1 : 0;
    return new KubeletError("KubeletForbidden", `the kubelet refused the call (${status}): ${text}`, retries);
  }
  if (status === 404) {
    // It was seen to run: a kubelet that has just been started does not know its pods yet.
    if (/pod does not exist/.test(text))
      return new KubeletError("PodNotFound", "the kubelet has no such pod", RUNTIME_RETRIES);
    if (/container .* does not exist/.test(text)) {
      const message = "the kubelet has no such container in the pod";
      return new KubeletError("ContainerNotFound", message, RUNTIME_RETRIES);
    }
    return new KubeletError("CheckpointUnsupported", `the kubelet has no checkpoint API: ${text}`);
  }
  const disk = DISK_ERRORS.find(([, pattern]) => pattern.test(text));
  if (disk !== undefined) return new KubeletError(disk[0], text);
  if (says(UNSUPPORTED, text)) return new KubeletError("CheckpointUnsupported", text);
  const retries = says(PASSING, text) ? RUNTIME_RETRIES : CRIU_FAILED.test(text) ? CRIU_RETRIES : 0;
  return new KubeletError("CheckpointFailed", text || `the kubelet answered ${status}`, retries);
}

/** One line of text, bounded: its beginning and its end, where the reason stands. */
function clean(text: string): string {
  const line = text.replace(/[\x00-\x1f\x7f]+/g, " ").trim();
  if (line.length <= MAX_TEXT) return line;
  const half = (MAX_TEXT - 5) / 2;
  return `${line.slice(0, half)} ... ${line.slice(-half)}`;
}
