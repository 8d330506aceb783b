import { Agent, type IncomingMessage, request } from "node:http";
import type { Duplex } from "node:stream";
import { downloadRefusal } from "../../api/download.ts";
import { KcrError } from "../../api/errors.ts";
import type { Client } from "../../kube/client.ts";
import { isForbidden } from "../../kube/errors.ts";
import { forwardPort } from "../../kube/port-forward.ts";
import { told } from "../errors.ts";
import type { Grant } from "./grant.ts";

/** Most connections to the pod at once. */
const CONNECTIONS = 2;
/** Longest time without a byte. */
const IDLE_MS = 30_000;
const REFUSAL_BYTES = 64 * 1024;

/** Bytes from `from` on, up to and without `end`. */
export interface Range {
  from: number;
  end: number;
}

/** The download part cannot answer now, and may soon; `told` is what it says. */
export class NotNow extends Error {
  override readonly name = "NotNow";
  readonly told: KcrError;

  constructor(told: KcrError) {
    super(told.message, { cause: told });
    this.told = told;
  }
}

/**
 * HTTP to the download part over forwarded ports: connections are kept, for the next request. To be closed.
 *
 * Errors, of `get` and of the bodies: KcrError: DownloadEnded where the token is not taken, DownloadForbidden where no
 * port may be forwarded, else what the download part says; NotNow; all others are of a connection that broke.
 */
export class PartConnection implements Disposable {
  readonly #grant: Grant;
  readonly #agent: ForwardAgent;

  constructor(client: Client, grant: Grant) {
    this.#grant = grant;
    this.#agent = new ForwardAgent(client, grant);
  }

  async get(method: "GET" | "HEAD", range: Range | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const { path, token } = this.#grant;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const asked = request({
      agent: this.#agent,
      host: "download",
      method,
      path,
      signal,
      timeout: IDLE_MS,
      headers: {
        authorization: `Bearer ${token}`,
        ...(range && { range: `bytes=${range.from}-${range.end - 1}` }),
      },
    });
    asked.once("timeout", () => asked.destroy(new Error(`no byte came for ${IDLE_MS / 1000} s`)));
    asked.on("error", reject);
    asked.once("response", resolve);
    asked.end();
    const answer = await promise;
    const { statusCode = 0 } = answer;
    if (statusCode !== 200 && statusCode !== 206) throw await refusalOf(statusCode, answer);
    const shown = range && `bytes ${range.from}-${range.end - 1}/`;
    if (shown === undefined || answer.headers["content-range"]?.startsWith(shown)) return answer;
    answer.destroy();
    throw new Error("another part than was asked for");
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

class ForwardAgent extends Agent {
  readonly #client: Client;
  readonly #grant: Grant;

  constructor(client: Client, grant: Grant) {
    super({ keepAlive: true, maxSockets: CONNECTIONS });
    this.#client = client;
    this.#grant = grant;
  }

  override createConnection(_: object, done?: (error: Error | null, stream: Duplex) => void): undefined {
    const { pod, port } = this.#grant;
    forwardPort(this.#client, pod, port).then(
      (stream) => done?.(null, stream),
      (cause: Error) => done?.(isForbidden(cause) ? forbidden(cause) : cause, undefined as never),
    );
  }
}

const forbidden = (cause: Error): KcrError =>
  new KcrError("DownloadForbidden", "you may not forward a port to the download part", { cause });

async function refusalOf(status: number, answer: IncomingMessage): Promise<KcrError | NotNow> {
  if (status === 401) {
    answer.resume();
    return new KcrError("DownloadEnded", "the download part does not take the token");
  }
  let text = "";
  for await (const chunk of answer) if (text.length < REFUSAL_BYTES) text += chunk;
  const refusal = downloadRefusal.safeParse(parsed(text));
  const error = refusal.success
    ? told(refusal.data.code, refusal.data.message)
    : new KcrError("DownloadUnavailable", `the download part answers ${status}`);
  return status === 503 ? new NotNow(error) : error;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
