import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { WRITES } from "./writes.ts";

interface Rules {
  kind: string;
  metadata: { name: string };
  rules?: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
}

const READS = new Set(["get", "list", "watch"]);
/** Rights that nothing is written by: to own objects, to give a right on, and to speak for a signer. */
const isOfNoWrite = (resource: string): boolean =>
  resource.endsWith("/finalizers") || resource === "nodes/checkpoint" || resource === "signers";

it("are those that the operator's account has a right to, and no others", () => {
  const documents = ["operator", "webhook", "nodes"].flatMap((part) => {
    const text = readFileSync(join(import.meta.dirname, "../../config", part, "rbac.yaml"), "utf8");
    return parseAllDocuments(text).map((document) => document.toJS() as Rules);
  });
  const allowed = documents
    .filter(({ metadata }) => metadata.name === "kcr-operator" || metadata.name === "kcr-webhook")
    .flatMap(({ rules = [] }) => rules)
    .flatMap(({ apiGroups: [group = ""], resources, verbs }) =>
      resources
        .filter((resource) => !isOfNoWrite(resource))
        .flatMap((resource) =>
          verbs.filter((verb) => !READS.has(verb)).map((verb) => `${verb} ${group}/${resource}`),
        ),
    );
  const sent = WRITES.flatMap(({ verb, resource, subresource }) => {
    const path = [resource.plural, ...(subresource === undefined ? [] : [subresource])].join("/");
    return (verb === "apply" ? ["create", "patch"] : [verb]).map((v) => `${v} ${resource.group}/${path}`);
  });
  expect([...new Set(sent)].sort()).toEqual([...new Set(allowed)].sort());
});
