import { createHash, X509Certificate } from "node:crypto";
import type { Credentials } from "./credentials.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";
import { RegistryError } from "./errors.ts";
import { DEFAULT_LIMITS, type Limits } from "./http.ts";
import { type Descriptor, type Document, MEDIA_TYPE } from "./manifest.ts";
import { assertRegistry, assertRepository, assertTag } from "./reference.ts";
import { type Answer, type Call, Session } from "./session.ts";
import { type Upload, type UploadOptions, uploadBlob } from "./upload.ts";

export interface RegistryOptions {
  /** "host[:port]", as in an image's name. */
  address: string;
  /** Speak HTTP, not HTTPS. There is no way to speak HTTPS without checking the certificate. Default false. */
  plainHttp?: boolean;
  /** PEM certificates that are trusted besides the well-known ones. */
  ca?: string;
  credentials?: Credentials;
  userAgent?: string;
  limits?: Partial<Limits>;
}

const MANIFEST_TYPES = [
  MEDIA_TYPE.manifest,
  MEDIA_TYPE.index,
  MEDIA_TYPE.dockerManifest,
  MEDIA_TYPE.dockerManifestList,
].join(", ");
const MAX_TAG_PAGES = 1000;

interface Common {
  signal?: AbortSignal;
}

/**
 * A client of one OCI registry (distribution spec 1.1), for any number of repositories. `close()` it at the end.
 *
 * Guarantees: what is returned was checked against its digest; requests are tried again with growing pauses while
 * the registry cannot answer, within the limits.
 * Errors: `RegistryError` from every method and the constructor (a CA that is none), `ImageNameError` for a repository or tag that cannot be, the signal's
 * reason when aborted.
 */
export class RegistryClient {
  readonly address: string;
  readonly #session: Session;

  constructor(options: RegistryOptions) {
    const { address, plainHttp = false, ca, credentials, userAgent = "kcr", limits } = options;
    assertRegistry(address);
    if (ca !== undefined) assertCertificate(ca, address);
    this.address = address;
    this.#session = new Session({
      address,
      plainHttp,
      ca,
      credentials,
      userAgent,
      limits: { ...DEFAULT_LIMITS, ...limits },
    });
  }

  /** Whether this is a registry, and lets us in. */
  async ping({ signal }: Common = {}): Promise<void> {
    const doing = "looking whether this is a registry";
    const { response } = await this.#session.call({
      doing,
      method: "GET",
      to: "",
      scope: [],
      expect: [200, 404],
      signal,
    });
    await response.discard();
    if (response.status === 404) {
      const what = `${doing}: it is none (404); check the address, and the proxy before it`;
      throw this.#session.error("protocol", what, {});
    }
  }

  /** A blob's size in bytes; undefined when the repository does not have it. */
  async headBlob(repository: string, digest: Digest, { signal }: Common = {}): Promise<number | undefined> {
    const doing = `looking for blob ${digest}`;
    const { response } = await this.#call({
      doing,
      method: "HEAD",
      repository,
      to: `${repository}/blobs/${digest}`,
      scope: pull(repository),
      expect: [200, 404],
      signal,
    });
    await response.discard();
    if (response.status === 404) return undefined;
    return this.#size(response.header("content-length"), doing, repository);
  }

  /** See `uploadBlob` in upload.ts. */
  async uploadBlob(options: UploadOptions): Promise<Upload> {
    assertRepository(options.repository);
    return await uploadBlob(this.#session, options);
  }

  /** Makes a blob of another repository here part of this one; false when the registry would not. */
  async mountBlob(
    repository: string,
    digest: Digest,
    from: string,
    { signal }: Common = {},
  ): Promise<boolean> {
    assertRepository(from);
    const scope = [...pullPush(repository), ...pull(from)];
    const doing = `mounting blob ${digest} from ${from}`;
    const { response, url } = await this.#call({
      doing,
      method: "POST",
      repository,
      to: `${repository}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(from)}`,
      scope,
      headers: { "content-length": "0" },
      expect: [201, 202],
      signal,
    });
    await response.discard();
    if (response.status === 201) return true;
    // It has opened an upload in its stead, which it would drop by itself in time.
    const upload = this.#session.locate(response.header("location"), url, { doing, repository });
    await this.#call({
      doing,
      method: "DELETE",
      repository,
      to: upload,
      scope,
      expect: [200, 202, 204],
      signal,
    }).then(
      (answer) => answer.response.discard(),
      () => {},
    );
    return false;
  }

  /** The bytes of a blob. Throws `digest-mismatch` before its end when they are not what they should be. */
  async *getBlob(repository: string, blob: Pick<Descriptor, "digest" | "size">, { signal }: Common = {}) {
    const { digest, size } = blob;
    const doing = `reading blob ${digest}`;
    const to = `${repository}/blobs/${digest}`;
    const call = {
      doing,
      method: "GET",
      repository,
      to,
      scope: pull(repository),
      expect: [200],
      signal,
    } as const;
    const { response } = await this.#call(call);
    const hash = createHash("sha256");
    let left = size;
    let last: Uint8Array | undefined;
    // The last chunk is held back until all is known to be right.
    for await (const chunk of this.#reading(response.stream(), call)) {
      left -= chunk.length;
      if (left < 0) break;
      hash.update(chunk);
      if (last) yield last;
      last = chunk;
    }
    if (left !== 0 || hash.digest("hex") !== digest.slice("sha256:".length)) {
      throw this.#session.error("digest-mismatch", `${doing}: these are other bytes`, { repository });
    }
    if (last) yield last;
  }

  /**
   * The bytes of a blob from `from` on, up to and without `end`, as they come. Errors: `protocol` for other bytes than
   * were asked for, as far as that can be told; whether they are the blob's only its digest tells.
   */
  async *readBlob(
    repository: string,
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    { from, end }: { from: number; end: number },
    { signal }: Common = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (from >= end) return;
    const doing = `reading bytes ${from} to ${end - 1} of blob ${digest}`;
    const isPart = from > 0 || end < size;
    const call = {
      doing,
      method: "GET",
      repository,
      to: `${repository}/blobs/${digest}`,
      scope: pull(repository),
      ...(isPart && { headers: { range: `bytes=${from}-${end - 1}` } }),
      expect: [200, 206],
      signal,
    } as const;
    const { response } = await this.#call(call);
    const isWhole = response.status === 200;
    const shown = response.header("content-range");
    if (!isWhole && shown !== `bytes ${from}-${end - 1}/${size}`) {
      await response.discard();
      throw this.#session.error("protocol", `${doing}: it answers with ${shown?.slice(0, 80)}`, {
        repository,
      });
    }
    // There are registries, and proxies before them, that know no ranges.
    let at = isWhole ? 0 : from;
    for await (const chunk of this.#reading(response.stream(), call)) {
      const piece = chunk.subarray(Math.max(from - at, 0), Math.max(end - at, 0));
      at += chunk.length;
      if (piece.length > 0) yield piece;
      if (at >= end) break;
    }
    if (at < end) throw this.#session.error("protocol", `${doing}: it ends before that`, { repository });
  }

  /** A manifest by its tag or digest, as it is: an index too. */
  async getManifest(repository: string, reference: string, { signal }: Common = {}): Promise<Document> {
    assertManifestName(reference);
    const doing = `reading the manifest of ${reference}`;
    const call = {
      doing,
      method: "GET",
      repository,
      to: `${repository}/manifests/${reference}`,
      scope: pull(repository),
      headers: { accept: MANIFEST_TYPES },
      expect: [200],
      signal,
    } as const;
    const { response } = await this.#call(call);
    const bytes = await this.#document(response, call);
    const digest = digestOf(bytes);
    const expected = isDigest(reference) ? reference : response.header("docker-content-digest");
    if (expected !== undefined && isDigest(expected) && expected !== digest) {
      throw this.#session.error("digest-mismatch", `${doing}: it is ${digest}, not ${expected}`, {
        repository,
      });
    }
    return { mediaType: mediaTypeOf(response.header("content-type")), digest, bytes };
  }

  /** A manifest's descriptor by its tag or digest, by the registry's own account; undefined when there is none. */
  async headManifest(
    repository: string,
    reference: string,
    { signal }: Common = {},
  ): Promise<Descriptor | undefined> {
    assertManifestName(reference);
    const doing = `looking for the manifest of ${reference}`;
    const { response } = await this.#call({
      doing,
      method: "HEAD",
      repository,
      to: `${repository}/manifests/${reference}`,
      scope: pull(repository),
      headers: { accept: MANIFEST_TYPES },
      expect: [200, 404],
      signal,
    });
    await response.discard();
    if (response.status === 404) return undefined;
    const digest = response.header("docker-content-digest") ?? reference;
    if (!isDigest(digest))
      throw this.#session.error("protocol", `${doing}: no digest in the answer`, { repository });
    const size = this.#size(response.header("content-length"), doing, repository);
    return { mediaType: mediaTypeOf(response.header("content-type")), digest, size };
  }

  /** Puts a manifest under a tag, or under its own digest. What it names must be in the repository. */
  async putManifest(
    repository: string,
    reference: string,
    manifest: Document,
    { signal }: Common = {},
  ): Promise<void> {
    assertManifestName(reference);
    const doing = `writing the manifest of ${reference}`;
    const { response } = await this.#call({
      doing,
      method: "PUT",
      repository,
      to: `${repository}/manifests/${reference}`,
      scope: pullPush(repository),
      headers: { "content-type": manifest.mediaType },
      body: () => manifest.bytes,
      expect: [200, 201, 202],
      signal,
    });
    await response.discard();
    const stored = response.header("docker-content-digest");
    if (stored !== undefined && stored !== manifest.digest) {
      const what = `the registry has stored ${manifest.digest} as ${stored.slice(0, 80)}`;
      throw this.#session.error("digest-mismatch", `${doing}: ${what}`, { repository });
    }
  }

  /**
   * Deletes a manifest and with it every tag that points to it; its blobs go when the registry next collects its
   * garbage. False when there was none. Errors: `unsupported` where the registry does not delete.
   */
  async deleteManifest(repository: string, digest: Digest, { signal }: Common = {}): Promise<boolean> {
    const { response } = await this.#call({
      doing: `deleting the manifest ${digest}`,
      method: "DELETE",
      repository,
      to: `${repository}/manifests/${digest}`,
      scope: [`repository:${repository}:delete`],
      expect: [200, 202, 204, 404],
      signal,
    });
    await response.discard();
    if (response.status !== 404) return true;
    // A proxy that has lost its registry answers 404 to everything; that must not pass for "gone".
    await this.ping({ signal });
    return false;
  }

  /** All tags of a repository; none when there is no such repository. */
  async listTags(repository: string, { signal }: Common = {}): Promise<string[]> {
    const doing = "listing the tags";
    const tags: string[] = [];
    let to: string | URL = `${repository}/tags/list`;
    for (let page = 0; page < MAX_TAG_PAGES; page += 1) {
      const call: Call & { repository: string } = {
        doing,
        method: "GET",
        repository,
        to,
        scope: pull(repository),
        expect: [200, 404],
        signal,
      };
      const { response, url }: Answer = await this.#call(call);
      if (response.status === 404) {
        await response.discard();
        return tags;
      }
      tags.push(...this.#tags(await this.#document(response, call), call));
      const next = /^\s*<([^>]*)>\s*;\s*rel="?next"?/i.exec(response.header("link") ?? "")?.[1];
      if (next === undefined) return tags;
      to = this.#session.locate(next, url, { doing, repository });
    }
    throw this.#session.error("too-large", `${doing}: more than ${MAX_TAG_PAGES} pages`, { repository });
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #call(call: Call & { repository: string }): Promise<Answer> {
    assertRepository(call.repository);
    return await this.#session.call(call);
  }

  async #document(response: Answer["response"], call: Call): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    let left = this.#session.limits.documentBytes;
    for await (const chunk of this.#reading(response.stream(), call)) {
      left -= chunk.length;
      if (left < 0) {
        const limit = this.#session.limits.documentBytes;
        throw this.#session.error("too-large", `${call.doing}: more than ${limit} bytes`, call);
      }
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  /** A body that breaks off is the connection's failure, like any other. */
  async *#reading(chunks: AsyncIterable<Uint8Array>, call: Call): AsyncGenerator<Uint8Array> {
    try {
      yield* chunks;
    } catch (cause) {
      call.signal?.throwIfAborted();
      throw this.#session.unreachable(cause, call);
    }
  }

  #tags(bytes: Buffer, { doing, repository }: Call): string[] {
    try {
      const { tags } = JSON.parse(bytes.toString("utf8")) as { tags?: unknown };
      if (tags === null || tags === undefined) return [];
      if (!Array.isArray(tags)) throw new TypeError("tags is not a list");
      return tags.filter((tag): tag is string => typeof tag === "string" && isTag(tag));
    } catch {
      throw this.#session.error("protocol", `${doing}: not a list of tags`, { repository });
    }
  }

  #size(header: string | undefined, doing: string, repository: string): number {
    if (/^[0-9]{1,15}$/.test(header ?? "")) return Number(header);
    throw this.#session.error("protocol", `${doing}: no size in the answer`, { repository });
  }
}

/** OpenSSL passes over what it cannot read; better to say so than to trust nothing silently. */
function assertCertificate(pem: string, registry: string): void {
  try {
    new X509Certificate(pem);
  } catch (cause) {
    throw new RegistryError("tls", "the CA that is given for it is no PEM certificate", { registry, cause });
  }
}

function pull(repository: string): string[] {
  return [`repository:${repository}:pull`];
}

function pullPush(repository: string): string[] {
  return [`repository:${repository}:pull,push`];
}

function assertManifestName(reference: string): void {
  if (!isDigest(reference)) assertTag(reference);
}

function isTag(text: string): boolean {
  try {
    assertTag(text);
    return true;
  } catch {
    return false;
  }
}

function mediaTypeOf(contentType: string | undefined): string {
  return (contentType ?? "").split(";")[0]!.trim() || MEDIA_TYPE.manifest;
}
