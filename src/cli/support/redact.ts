import type { KubeObject } from "../../kube/resources.ts";

/** What stands where something was. */
export const LEFT_OUT = "<left out>";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Fields whose values may be secrets: their shape is kept, and what names things. */
const FIELDS: Record<string, (value: Json) => Json> = {
  env: (value) =>
    itemsOf(value).map(({ name = null, value: own, ...rest }) => ({
      name,
      ...(own === undefined ? {} : { value: LEFT_OUT }),
      ...rest,
    })),
  command: counted,
  args: counted,
  exec: () => LEFT_OUT,
  httpHeaders: counted,
  data: keys,
  stringData: keys,
  binaryData: keys,
  caBundle: () => LEFT_OUT,
  certificate: () => LEFT_OUT,
  managedFields: () => LEFT_OUT,
  terminated: (value) => (isObject(value) && "message" in value ? { ...value, message: LEFT_OUT } : value),
};

/** Annotations that kcr writes, and those that say nothing of anybody's. Of all others the names are kept. */
const ANNOTATIONS =
  /^([\w-]+\.)*kcr\.io\/|^kubectl\.kubernetes\.io\/default-container$|^deployment\.kubernetes\.io\//;

/**
 * An object without what may be secret: values of environment variables, commands and their arguments, contents of
 * ConfigMaps and Secrets, annotations of others, what a program said when it ended. Names, images, references and
 * conditions stay.
 */
export function redact<T extends KubeObject>(object: T): T {
  return walk(object as unknown as Json) as unknown as T;
}

/**
 * Text of logs and of kcr's settings, with what looks like a token or a password left out. No expression looks from
 * every place of a long word to its end: that would take a time that grows with the square of its length.
 */
export const redactText = (text: string): string =>
  text
    .replace(/\beyJ[\w-]{8,512}\.[\w-]{8,}\.[\w-]*/g, LEFT_OUT)
    .replace(/\b(bearer|basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${LEFT_OUT}`)
    .replace(/(:\/\/[^/\s:@"]*:)[^/\s@"]+@/g, `$1${LEFT_OUT}@`)
    .replace(
      /((?<![\w-])[\w-]*(?:password|passwd|secret|token|api[-_]?key|credential|authorization)["']?\s*[:=]\s*["']?)[^\s"',}]+/gim,
      `$1${LEFT_OUT}`,
    )
    .replace(/-----BEGIN [^-]*-----[\s\S]*?(-----END [^-]*-----|$)/g, LEFT_OUT);

function walk(value: Json): Json {
  if (Array.isArray(value)) return value.map(walk);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, one]): [string, Json][] => {
      if (key === "managedFields") return [];
      if (key === "annotations" && isObject(one)) return [[key, annotations(one)]];
      // A container's environment, but not a field of that name in something else.
      const change = FIELDS[key];
      return [[key, change === undefined ? walk(one) : change(one)]];
    }),
  );
}

const annotations = (all: { [key: string]: Json }): Json =>
  Object.fromEntries(
    Object.entries(all).map(([key, value]) => [key, ANNOTATIONS.test(key) ? value : LEFT_OUT]),
  );

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const itemsOf = (value: Json): { [key: string]: Json }[] =>
  Array.isArray(value) ? value.filter(isObject) : [];

function counted(value: Json): Json {
  return Array.isArray(value) ? `${LEFT_OUT}, ${value.length}` : LEFT_OUT;
}

function keys(value: Json): Json {
  return isObject(value) ? Object.fromEntries(Object.keys(value).map((key) => [key, LEFT_OUT])) : LEFT_OUT;
}
