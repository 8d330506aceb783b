import { createHash } from "node:crypto";
import type { Scope } from "./auth.ts";
import type { Digest } from "./digest.ts";
import { hasCode, type RegistryError } from "./errors.ts";
import { Retries } from "./retry.ts";
import type { Session } from "./session.ts";
import type { BlobSource } from "./source.ts";

export interface UploadOptions {
  repository: string;
  source: BlobSource;
  /** What the bytes are known to be; without it they are hashed on their way. */
  digest?: Digest;
  signal?: AbortSignal;
  /** Called with how many bytes have been sent so far; falls back when a part must be sent again. */
  onProgress?: (sent: number) => void;
}

export interface Upload {
  digest: Digest;
  size: number;
  /** Bytes sent, those that had to be sent again counted again. */
  sentBytes: number;
}

/** Less than this between two failures is no headway. */
const HEADWAY_BYTES = 1024 * 1024;

/** How long giving up an upload may take. */
const FORGET_MS = 2_000;

/** Where an upload stands: the address for the next request, and how many bytes the registry has. */
interface Place {
  url: URL;
  offset: number;
}

/**
 * Uploads a blob in one pass over its source: POST opens an upload, one PATCH carries the bytes, which are hashed
 * as they go, and a PUT with the digest closes it (distribution spec, "Pushing blobs"; one long PATCH is what every
 * registry takes, for docker does so).
 *
 * Flow: on a failure the registry is asked how far it has come, and the upload goes on from there. Where it has
 * forgotten the upload, or does not take up the rest, it is begun again. Bytes that were hashed are not hashed
 * again. Failures in a row without headway are bounded by the limits.
 * Guarantees: on return the registry holds `size` bytes with that digest, by its own account.
 * Errors: `RegistryError`; the source's own; the signal's reason.
 */
export async function uploadBlob(session: Session, options: UploadOptions): Promise<Upload> {
  const { repository, source, signal, onProgress } = options;
  const scope: Scope = [`repository:${repository}:pull,push`];
  const common = { repository, scope, signal };
  const retries = new Retries(session.limits);
  const hashed = new HashedSource(source);
  let place: Place | undefined;
  /** After a failure only the registry knows where the upload stands. */
  let unsure = false;
  let resumed = false;
  let furthest = 0;
  let sentBytes = 0;

  try {
    return { digest: await finish(), size: source.size, sentBytes };
  } catch (error) {
    if (place) await forget(place);
    throw error;
  }

  async function finish(): Promise<Digest> {
    for (;;) {
      try {
        if (place && unsure) {
          if (hashed.position === source.size && (await isStored(hashed.digest())))
            return checked(hashed.digest());
          place = await ask(place);
          resumed = place !== undefined;
          if (place && place.offset > furthest + HEADWAY_BYTES) {
            furthest = place.offset;
            retries.reset();
          }
        }
        unsure = false;
        place ??= await begin();
        if (place.offset < source.size) place = await send(place);
        const digest = checked(hashed.digest());
        await commit(place, digest);
        return digest;
      } catch (error) {
        if (signal?.aborted || !mayTryAgain(error, resumed)) throw error;
        if (place && hasCode(error, "digest-mismatch")) {
          await forget(place);
          place = undefined;
          resumed = false;
        }
        await retries.pause(error, signal);
        unsure = true;
      }
    }
  }

  function checked(digest: Digest): Digest {
    if (options.digest === undefined || options.digest === digest) return digest;
    throw session.error("digest-mismatch", `the blob is ${digest}, not ${options.digest}`, { repository });
  }

  async function begin(): Promise<Place> {
    const { response, url } = await session.once({
      ...common,
      doing: "opening an upload",
      method: "POST",
      to: `${repository}/blobs/uploads/`,
      headers: { "content-length": "0" },
      expect: [202],
    });
    await response.discard();
    return {
      url: session.locate(response.header("location"), url, { doing: "opening an upload", repository }),
      offset: 0,
    };
  }

  async function send({ url, offset }: Place): Promise<Place> {
    const doing = "uploading a blob";
    const isSizeKnown = Number.isFinite(source.size);
    const answer = await session.once({
      ...common,
      doing,
      method: "PATCH",
      to: url,
      headers: {
        "content-type": "application/octet-stream",
        ...(isSizeKnown && { "content-length": String(source.size - offset) }),
        ...(isSizeKnown && offset > 0 && { "content-range": `${offset}-${source.size - 1}` }),
      },
      body: () => counted(hashed.read(offset), offset),
      expect: [202, 204],
      answerTimeoutMs: session.limits.commitTimeoutMs,
    });
    await answer.response.discard();
    return {
      url: session.locate(answer.response.header("location"), answer.url, { doing, repository }),
      offset: source.size,
    };
  }

  async function* counted(chunks: AsyncIterable<Uint8Array>, offset: number): AsyncGenerator<Uint8Array> {
    let at = offset;
    for await (const chunk of chunks) {
      yield chunk;
      at += chunk.length;
      sentBytes += chunk.length;
      onProgress?.(at);
    }
  }

  async function commit({ url }: Place, digest: Digest): Promise<void> {
    const closing = new URL(url);
    closing.searchParams.append("digest", digest);
    const { response } = await session.once({
      ...common,
      doing: `closing the upload of ${digest}`,
      method: "PUT",
      to: closing,
      headers: { "content-length": "0" },
      expect: [201, 204],
      idleTimeoutMs: session.limits.commitTimeoutMs,
    });
    await response.discard();
    const stored = response.header("docker-content-digest");
    if (stored !== undefined && stored !== digest) {
      throw session.error("digest-mismatch", `the registry has stored ${digest} as ${stored.slice(0, 80)}`, {
        repository,
      });
    }
  }

  /** Whether the closing PUT was heard after all. */
  async function isStored(digest: Digest): Promise<boolean> {
    const doing = `looking for blob ${digest}`;
    const to = `${repository}/blobs/${digest}`;
    const { response } = await session.once({ ...common, doing, method: "HEAD", to, expect: [200, 404] });
    await response.discard();
    return response.status === 200 && response.header("content-length") === String(source.size);
  }

  /** How far the registry has come; undefined when it knows the upload no more. */
  async function ask({ url }: Place): Promise<Place | undefined> {
    const doing = "asking how far an upload has come";
    try {
      const answer = await session.once({ ...common, doing, method: "GET", to: url, expect: [204, 202] });
      await answer.response.discard();
      const offset = offsetOf(answer.response.header("range"));
      if (offset === undefined || offset > hashed.position) return undefined;
      const location = answer.response.header("location");
      return {
        url: location === undefined ? url : session.locate(location, answer.url, { doing, repository }),
        offset,
      };
    } catch (error) {
      if (hasCode(error, "not-found", "protocol", "unsupported")) return undefined;
      throw error;
    }
  }

  /**
   * Lets the registry free what it holds of an upload. It would do so by itself in time, so failing is no matter;
   * but an upload that was cut off may still be in the registry's hands, so it is tried more than once.
   */
  async function forget({ url }: Place): Promise<void> {
    const doing = "giving up an upload";
    const call = { ...common, doing, signal: AbortSignal.timeout(FORGET_MS), expect: [200, 202, 204, 404] };
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        const status = await session.once({ ...call, method: "GET", to: url });
        await status.response.discard();
        if (status.response.status === 404) return;
        const to = session.locate(status.response.header("location") ?? url.href, status.url, {
          doing,
          repository,
        });
        await (await session.once({ ...call, method: "DELETE", to })).response.discard();
        return;
      } catch {
        if (call.signal.aborted) return;
      }
    }
  }
}

/** Whether a failure may come from the connection, or from having gone on with an upload that was cut off. */
function mayTryAgain(error: unknown, resumed: boolean): error is RegistryError {
  if (hasCode(error, "unreachable")) return true;
  return resumed && hasCode(error, "not-found", "protocol", "digest-mismatch");
}

/** `Range: 0-99` is 100 bytes. `0-0` is what registries say for none; the spec has no way to say that. */
function offsetOf(range: string | undefined): number | undefined {
  const match = /^(?:bytes=)?0-([0-9]{1,15})$/.exec(range ?? "");
  if (!match) return undefined;
  const last = Number(match[1]);
  return last === 0 ? 0 : last + 1;
}

/** Hashes a source while it is read from front to back, however often parts of it are read again. */
class HashedSource {
  /** How many bytes have been hashed. */
  position = 0;
  readonly #source: BlobSource;
  readonly #hash = createHash("sha256");

  constructor(source: BlobSource) {
    this.#source = source;
  }

  async *read(offset: number): AsyncGenerator<Uint8Array> {
    let at = offset;
    for await (const chunk of this.#source.read(offset)) {
      const end = at + chunk.length;
      if (end > this.position) {
        this.#hash.update(chunk.subarray(Math.max(0, this.position - at)));
        this.position = end;
      }
      at = end;
      yield chunk;
    }
  }

  /** Assumptions: all of the source has been read. */
  digest(): Digest {
    return `sha256:${this.#hash.copy().digest("hex")}`;
  }
}
