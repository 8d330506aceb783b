import type { Fence, Write } from "../../src/operator/writes.ts";
import type { Asked } from "./proxy.ts";

/** What a write is about, from its path and body alone. */
export interface Target {
  verb: Write["verb"];
  group: string;
  plural: string;
  subresource: string | undefined;
  namespace: string | undefined;
  name: string | undefined;
}

interface Body {
  metadata?: { name?: string; uid?: string; resourceVersion?: string };
  preconditions?: { uid?: string };
}

const VERBS: Record<string, Write["verb"]> = {
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

/** Errors: a path that is none of the API's. */
export function targetOf({ method, url, contentType, body }: Asked): Target {
  const [root, ...path] = new URL(url, "https://proxy").pathname.slice(1).split("/").map(decodeURIComponent);
  if (root !== "api" && root !== "apis") throw new Error(`${url} is no path of the API`);
  const group = root === "api" ? "" : (path.shift() ?? "");
  path.shift();
  const namespace = path[0] === "namespaces" && path.length > 2 ? path.splice(0, 2)[1] : undefined;
  const [plural = "", name = (body as Body)?.metadata?.name, subresource] = path;
  const verb = contentType.includes("apply-patch") ? "apply" : VERBS[method];
  if (verb === undefined) throw new Error(`${method} is no write`);
  return { verb, group, plural, subresource, namespace, name };
}

/** The kind of a write as a text: `patch pods/status`. */
export const kindOf = ({ verb, plural, subresource }: Omit<Target, "group">): string =>
  `${verb} ${plural}${subresource === undefined ? "" : `/${subresource}`}`;

/** The kind of an entry of the operator's list, as that of {@link kindOf}. */
export const kindOfEntry = ({ verb, resource, subresource }: Write): string =>
  kindOf({ verb, plural: resource.plural, subresource, namespace: undefined, name: undefined });

/** Whether a write has what is to keep it from an effect when it comes too late. */
export function isFenced(fence: Fence, asked: Asked): boolean {
  const { metadata, preconditions } = (asked.body ?? {}) as Body;
  switch (fence) {
    case "name":
      return (metadata?.name ?? "") !== "";
    case "version":
      return (metadata?.resourceVersion ?? "") !== "";
    case "uid":
      return (preconditions?.uid ?? "") !== "";
    case "manager":
      return /-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(
        new URL(asked.url, "https://proxy").searchParams.get("fieldManager") ?? "",
      );
    case "tests": {
      const patch = asked.body as { op: string; path: string; value?: unknown }[];
      const tests = (path: string) => patch.some((p) => p.op === "test" && p.path === path && p.value);
      const isPod = targetOf(asked).plural === "pods";
      return tests("/metadata/resourceVersion") && (!isPod || tests("/metadata/uid"));
    }
    default:
      return fence satisfies never;
  }
}
