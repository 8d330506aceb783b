import { createHash } from "node:crypto";

/** Limits of the API server and of OCI registries, in characters. */
export const MAX_LABEL = 63;
export const MAX_NAME = 253;
export const MAX_TAG = 128;
/** Image reference without its tag: 255 is the specification's limit, of which the address takes its part. */
export const MAX_IMAGE = 200;

const hash = (text: string, length = 10): string =>
  createHash("sha256").update(text).digest("hex").slice(0, length);

/**
 * `text` when it fits, else its beginning and a hash of the whole of it: unique and stable. What the cut
 * leaves at its end is trimmed so that the result stays a DNS-1123 name.
 */
export function shorten(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const digest = hash(text);
  return `${text.slice(0, limit - digest.length - 1).replace(/[^a-z0-9]+$/i, "")}-${digest}`;
}

export const labelValue = (text: string): string => shorten(text, MAX_LABEL);

/** Seconds since the epoch of a slot's due time, as names carry it. */
export const unixSeconds = (at: Date): number => Math.floor(at.getTime() / 1000);

interface Captured {
  pod: string;
  container: string;
  /** The container that names leave out: the pod's default one. */
  defaultContainer: string;
  at: Date;
}

const containerPart = (c: Captured): string => (c.container === c.defaultContainer ? "" : `-${c.container}`);
const timed = (stem: string, at: Date, suffix = ""): string => {
  const tail = `-${unixSeconds(at)}${suffix}`;
  return `${shorten(stem, MAX_NAME - tail.length)}${tail}`;
};
/** Told apart by a short hash of the request's UID where the plain name is taken by something else. */
const distinct = (uid: string | undefined): string => (uid === undefined ? "" : `-${hash(uid, 8)}`);

/** `<schedule>-<pod>[-<container>]-<unix time>` */
export const requestName = (schedule: string, captured: Captured, distinctFor?: string): string =>
  timed(`${schedule}-${captured.pod}${containerPart(captured)}`, captured.at, distinct(distinctFor));

/** `<pod>-<namespace>[-<container>]-<unix time>` */
export const checkpointName = (namespace: string, captured: Captured, distinctFor?: string): string =>
  timed(`${captured.pod}-${namespace}${containerPart(captured)}`, captured.at, distinct(distinctFor));

/** `<CheckpointRestore>-saves-<hash of its UID>`: the request for what a container is before it goes back. */
export const savingRequestName = (restore: string, uid: string): string => {
  const tail = `-saves-${hash(uid, 8)}`;
  return `${shorten(restore, MAX_NAME - tail.length)}${tail}`;
};

/** The schedule of a workload: a Deployment's has its name, another kind's `<name>-<kind>`. */
export const scheduleName = (workload: string, kind: string): string =>
  shorten(kind === "Deployment" ? workload : `${workload}-${kind.toLowerCase()}`, MAX_NAME);

/**
 * `<prefix>/<namespace>/checkpoint-<workload>-<container>`: one repository per container of a workload, so
 * that blobs are shared. The namespace keeps two workloads of one name apart. `registry` is the longer of the
 * two addresses of the registry: with it the reference stays within MAX_IMAGE.
 */
export function repositoryName(
  registry: string,
  prefix: string,
  namespace: string,
  workload: string,
  container: string,
): string {
  const parent = [...prefix.split("/").filter(Boolean), namespace].join("/");
  const leaf = `checkpoint-${workload}-${container}`.toLowerCase();
  return `${parent}/${shorten(leaf, Math.max(32, MAX_IMAGE - registry.length - parent.length - 2))}`;
}

export const imageTag = (checkpoint: string): string => shorten(checkpoint, MAX_TAG);
