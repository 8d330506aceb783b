import { createHash } from "node:crypto";
import { join } from "node:path/posix";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import type { KubeObject } from "../../kube/resources.ts";
import type { Files } from "./shipped.ts";

/*
 * As much of kustomize as config/ uses, so that whoever installs needs neither kubectl nor a checkout. A test
 * compares it with `kubectl kustomize`; what it does not know it refuses.
 */

/** An image as a kustomization names it; without tag and digest those of the manifest stay. */
export interface Image {
  name: string;
  newName?: string;
  newTag?: string;
  digest?: string;
}

/** What an overlay says about the kustomization below it. */
export interface Overlay {
  components?: readonly string[];
  images?: readonly Image[];
  /** Data of generated ConfigMaps, by their names, in the place of what the kustomization says. */
  configMaps?: Readonly<Record<string, Record<string, string>>>;
}

const generator = z.strictObject({
  name: z.string(),
  namespace: z.string().optional(),
  files: z.array(z.string()).default([]),
  literals: z.array(z.string()).default([]),
  options: z.strictObject({ disableNameSuffixHash: z.boolean() }).optional(),
});

const kustomization = z.strictObject({
  apiVersion: z.string(),
  kind: z.enum(["Kustomization", "Component"]),
  namespace: z.string().optional(),
  resources: z.array(z.string()).default([]),
  patches: z.array(z.strictObject({ path: z.string() })).default([]),
  configMapGenerator: z.array(generator).default([]),
  images: z
    .array(
      z.strictObject({
        name: z.string(),
        newName: z.string().optional(),
        newTag: z.string().optional(),
        digest: z.string().optional(),
      }),
    )
    .default([]),
});

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type JsonObject = { [key: string]: Json };

/**
 * The objects of a kustomization, with an overlay, in the order of its resources.
 *
 * Errors: a kustomization that says what is not understood here; a file that is not there.
 */
export function kustomize(files: Files, overlay: Overlay = {}): KubeObject[] {
  const top = readKustomization(files, ".");
  let objects = resources(files, ".");
  for (const path of overlay.components ?? []) objects = component(files, path, objects);
  const maps = top.configMapGenerator.map((one) => configMap(files, one, overlay.configMaps?.[one.name]));
  const renamed = new Map(maps.map(({ original, object }) => [original, object.metadata.name]));
  const images = overlay.images ?? top.images;
  return [...objects, ...maps.map(({ object }) => object)].map((object) =>
    walk(object as unknown as Json, (field) => withImages(withConfigMaps(field, renamed), images)),
  ) as unknown as KubeObject[];
}

function readKustomization(files: Files, directory: string): z.output<typeof kustomization> {
  const path = join(directory, "kustomization.yaml");
  const parsed = kustomization.safeParse(parse(fileOf(files, path)));
  if (!parsed.success) throw new Error(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function fileOf(files: Files, path: string): string {
  const text = files[path];
  if (text === undefined) throw new Error(`there is no ${path} among kcr's manifests`);
  return text;
}

function resources(files: Files, directory: string): KubeObject[] {
  const { namespace, resources: paths } = readKustomization(files, directory);
  return paths.flatMap((name) => {
    const path = join(directory, name);
    const objects = path.endsWith(".yaml") ? documents(files, path) : resources(files, path);
    return namespace === undefined ? objects : objects.map((object) => inNamespace(object, namespace));
  });
}

/** Kubernetes reads YAML 1.1, in which 0400 is octal. */
const YAML = { version: "1.1" } as const;

function documents(files: Files, path: string): KubeObject[] {
  return parseAllDocuments(fileOf(files, path), YAML).map((document) => {
    if (document.errors.length > 0) throw new Error(`${path}: ${document.errors[0]}`);
    return document.toJS() as KubeObject;
  });
}

/** Kinds of kcr's manifests that are in no namespace. */
const CLUSTER_SCOPED = new Set([
  "Namespace",
  "CustomResourceDefinition",
  "ClusterRole",
  "ClusterRoleBinding",
  "RuntimeClass",
  "MutatingWebhookConfiguration",
  "ValidatingAdmissionPolicy",
  "ValidatingAdmissionPolicyBinding",
]);

export const isClusterScoped = ({ kind = "" }: KubeObject): boolean => CLUSTER_SCOPED.has(kind);

const inNamespace = (object: KubeObject, namespace: string): KubeObject =>
  isClusterScoped(object) ? object : { ...object, metadata: { ...object.metadata, namespace } };

function component(files: Files, directory: string, objects: readonly KubeObject[]): KubeObject[] {
  let patched = [...objects];
  for (const { path } of readKustomization(files, directory).patches) {
    for (const patch of documents(files, join(directory, path))) {
      const is = ({ kind, metadata }: KubeObject) =>
        kind === patch.kind && metadata.name === patch.metadata.name;
      if (!patched.some(is)) throw new Error(`${path}: there is no ${patch.kind} ${patch.metadata.name}`);
      patched = patched.map((object) =>
        is(object)
          ? (merge(object as unknown as Json, patch as unknown as Json) as unknown as KubeObject)
          : object,
      );
    }
  }
  return patched;
}

/** A strategic merge, in which the items of every list are known by their names. */
function merge(base: Json | undefined, patch: Json): Json {
  if (Array.isArray(patch)) {
    const items = Array.isArray(base) ? [...base] : [];
    for (const item of patch) {
      const at = items.findIndex((one) => nameOf(one) !== undefined && nameOf(one) === nameOf(item));
      if (at < 0) items.push(item);
      else items[at] = merge(items[at], item);
    }
    return items;
  }
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(base) ? { ...base } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null || (isObject(value) && value["$patch"] === "delete")) delete merged[key];
    else merged[key] = merge(merged[key], value);
  }
  return merged;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const nameOf = (value: Json): Json | undefined => (isObject(value) ? value["name"] : undefined);

function configMap(
  files: Files,
  { name, namespace, files: named, literals, options }: z.output<typeof generator>,
  data: Record<string, string> | undefined,
): { original: string; object: KubeObject } {
  const own = Object.fromEntries([
    ...named.map((text) => {
      const [key = "", path = key] = text.split("=");
      return [key, fileOf(files, path)];
    }),
    ...literals.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)]),
  ]);
  const used = data ?? own;
  const suffix = options?.disableNameSuffixHash === true ? "" : `-${hashOf(used)}`;
  const metadata = { name: `${name}${suffix}`, ...(namespace === undefined ? {} : { namespace }) };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata, data: used };
  return { original: name, object };
}

/**
 * The hash that kustomize appends to a generated ConfigMap's name, so that a change of it rolls pods out anew.
 * Source: kustomize's `hasher.go`: sha256 of the JSON, in which the name is always empty; ten digits, some of
 * them replaced so that they make no words.
 */
function hashOf(data: Record<string, string>): string {
  const sorted = Object.fromEntries(Object.entries(data).sort(([a], [b]) => (a < b ? -1 : 1)));
  // As Go writes JSON.
  const json = JSON.stringify({ data: sorted, kind: "ConfigMap", name: "" }).replace(
    /[<>&\u2028\u2029]/g,
    (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const letters: Record<string, string> = { "0": "g", "1": "h", "3": "k", a: "m", e: "t" };
  const hex = createHash("sha256").update(json).digest("hex").slice(0, 10);
  return [...hex].map((digit) => letters[digit] ?? digit).join("");
}

/** Every object in it, from the innermost outwards. */
function walk(value: Json, change: (object: JsonObject) => JsonObject): Json {
  if (Array.isArray(value)) return value.map((item) => walk(item, change));
  if (!isObject(value)) return value;
  return change(Object.fromEntries(Object.entries(value).map(([key, one]) => [key, walk(one, change)])));
}

/** A volume's `configMap: {name}`, by the name that it really has. */
function withConfigMaps(object: JsonObject, renamed: ReadonlyMap<string, string>): JsonObject {
  const { configMap: source } = object;
  const name =
    isObject(source) && typeof source["name"] === "string" ? renamed.get(source["name"]) : undefined;
  return name === undefined ? object : { ...object, configMap: { ...(source as JsonObject), name } };
}

function withImages(object: JsonObject, images: readonly Image[]): JsonObject {
  const { image } = object;
  if (typeof image !== "string" || object["name"] === undefined) return object;
  const found = images.find(({ name }) => name === image);
  if (found === undefined) return object;
  const { newName = found.name, newTag, digest } = found;
  const end = digest !== undefined ? `@${digest}` : newTag !== undefined ? `:${newTag}` : "";
  return { ...object, image: `${newName}${end}` };
}
