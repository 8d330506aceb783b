import { type Digest, isDigest } from "./digest.ts";

/** A parsed image reference: `registry/repository[:tag][@digest]`. */
export interface Reference {
  /** "host[:port]"; "docker.io" when the text names none. */
  registry: string;
  repository: string;
  tag?: string;
  digest?: Digest;
}

/** The longest tag there can be (distribution spec). */
export const TAG_LIMIT = 128;
/** The longest `registry/repository` that registries and runtimes take (distribution's reference grammar). */
export const NAME_LIMIT = 255;
/** The longest that we make ourselves: leaves room for a longer pull address than the one pushed to. */
export const OWN_NAME_LIMIT = 200;

const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST_LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/;
const IPV6 = /^\[[0-9a-fA-F:.]+\]$/;

/** A name, tag or reference that breaks the grammar; the message quotes the start of it. */
export class ImageNameError extends Error {
  constructor(what: string, text: string) {
    super(`${what}: ${JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}...` : text)}`);
    this.name = "ImageNameError";
  }
}

/**
 * Reads a reference as the runtimes do: "redis" is docker.io/library/redis.
 *
 * Errors: `ImageNameError`.
 */
export function parseReference(text: string): Reference {
  if (text.length > NAME_LIMIT + TAG_LIMIT + 80)
    throw new ImageNameError("an image reference too long", text);
  const [named = "", digest, ...more] = text.split("@");
  if (more.length > 0) throw new ImageNameError("an image reference with two digests", text);
  if (digest !== undefined && !isDigest(digest)) throw new ImageNameError("not a sha256 digest", digest);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined) assertTag(tag);
  const name = hasTag ? named.slice(0, colon) : named;
  const { registry, repository } = splitName(name);
  assertRegistry(registry);
  assertRepository(repository);
  if (name.length > NAME_LIMIT) throw new ImageNameError("an image name too long", name);
  return { registry, repository, ...(tag && { tag }), ...(digest && { digest }) };
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  if (slash > 0 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase())) {
    const registry = first === "index.docker.io" ? "docker.io" : first;
    return { registry, repository: familiar(registry, name.slice(slash + 1)) };
  }
  return { registry: "docker.io", repository: familiar("docker.io", name) };
}

function familiar(registry: string, repository: string): string {
  return registry === "docker.io" && !repository.includes("/") ? `library/${repository}` : repository;
}

/** The opposite of `parseReference`, with the digest where there is one. */
export function formatReference({ registry, repository, tag, digest }: Reference): string {
  return `${registry}/${repository}${tag ? `:${tag}` : ""}${digest ? `@${digest}` : ""}`;
}

/** Errors: `ImageNameError` unless the text is "host", "host:port", "1.2.3.4:5000" or "[::1]:5000". */
export function assertRegistry(registry: string): void {
  const { host, port } = splitAddress(registry);
  const valid =
    registry.length <= NAME_LIMIT &&
    (IPV6.test(host) || host.split(".").every((label) => HOST_LABEL.test(label))) &&
    (port === undefined || (/^[0-9]{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65536));
  if (!valid) throw new ImageNameError("not a registry's host[:port]", registry);
}

function splitAddress(registry: string): { host: string; port?: string } {
  const colon = registry.lastIndexOf(":");
  if (colon < 0 || registry.endsWith("]")) return { host: registry };
  return { host: registry.slice(0, colon), port: registry.slice(colon + 1) };
}

/** Errors: `ImageNameError` unless the text can be a repository: lower case, no "..", no empty part. */
export function assertRepository(repository: string): void {
  const valid =
    repository.length <= NAME_LIMIT && repository.split("/").every((part) => PATH_COMPONENT.test(part));
  if (!valid) throw new ImageNameError("not a repository name", repository);
}

/** Errors: `ImageNameError` unless the text can be a tag. */
export function assertTag(tag: string): void {
  if (tag.length > TAG_LIMIT || !TAG.test(tag)) throw new ImageNameError("not an image tag", tag);
}

/** Errors: `ImageNameError` when `registry/repository` is no valid name, or longer than we let our own be. */
export function assertOwnName(registry: string, repository: string): void {
  assertRegistry(registry);
  assertRepository(repository);
  const name = `${registry}/${repository}`;
  if (name.length > OWN_NAME_LIMIT) {
    throw new ImageNameError(`an image name of ${name.length} characters (at most ${OWN_NAME_LIMIT})`, name);
  }
}
