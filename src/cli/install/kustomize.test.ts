import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import { ensureBinaries, whyNotBinaries } from "../../../cluster/binaries.ts";
import type { KubeObject } from "../../kube/resources.ts";
import { kustomize } from "./kustomize.ts";
import { shippedFiles } from "./shipped.ts";

const config = join(import.meta.dirname, "../../../config");
const work = mkdtempSync(join(tmpdir(), "kcr-kustomize-"));
afterAll(() => rmSync(work, { recursive: true }));

/** By their names; blanks count alike, for kubectl writes folded lines with more of them than it has read. */
const byName = (objects: readonly KubeObject[]): Record<string, KubeObject> =>
  JSON.parse(
    JSON.stringify(
      Object.fromEntries(
        objects.map((one) => [`${one.kind} ${one.metadata.namespace ?? ""}/${one.metadata.name}`, one]),
      ),
      (_key, value) => (typeof value === "string" ? value.replace(/\s+/g, " ") : value),
    ),
  );

const whyNot = await whyNotBinaries();
const { "kubernetes/kubectl": kubectl = "kubectl" } =
  whyNot === undefined ? await ensureBinaries(["kubernetes/kubectl"]) : {};
const byKubectl = (directory: string): Record<string, KubeObject> => {
  const text = execFileSync(kubectl, ["kustomize", directory, "--load-restrictor=LoadRestrictionsNone"], {
    encoding: "utf8",
  });
  return byName(parseAllDocuments(text, { version: "1.1" }).map((document) => document.toJS() as KubeObject));
};

describe.skipIf(whyNot !== undefined)("the manifests", { timeout: 60_000 }, () => {
  it("are what kubectl makes of config/", () => {
    const own = byName(kustomize(shippedFiles()));
    expect(own).toEqual(byKubectl(config));
    expect(Object.keys(own).length).toBeGreaterThan(50);
  });

  it("are with components, images and settings what kubectl makes of an overlay that says so", () => {
    const settings = stringify({ registry: { push: "a&b<c>" }, engine: "runc" });
    const digest = `sha256:${"0".repeat(64)}`;
    const overlay = {
      apiVersion: "kustomize.config.k8s.io/v1beta1",
      kind: "Kustomization",
      resources: [relative(work, config)],
      components: [relative(work, join(config, "agent-runc"))],
      images: [{ name: "kcr", newName: "r.example/kcr", digest }],
      configMapGenerator: [
        ...["kcr-system", "kcr-download"].map((namespace) => ({
          name: "kcr-config",
          namespace,
          behavior: "replace",
          files: ["config.yaml"],
        })),
        {
          name: "kcr-policy",
          namespace: "kcr-system",
          behavior: "replace",
          literals: ["repository=r.example/x/"],
        },
      ],
    };
    writeFileSync(join(work, "kustomization.yaml"), stringify(overlay));
    writeFileSync(join(work, "config.yaml"), settings);
    const own = kustomize(shippedFiles(), {
      components: ["agent-runc"],
      images: [{ name: "kcr", newName: "r.example/kcr", digest }],
      configMaps: { "kcr-config": { "config.yaml": settings }, "kcr-policy": { repository: "r.example/x/" } },
    });
    expect(byName(own)).toEqual(byKubectl(work));
  });
});

it("refuses what it does not know of kustomize", () => {
  const files = { "kustomization.yaml": "apiVersion: v1\nkind: Kustomization\nnamePrefix: x-\n" };
  expect(() => kustomize(files)).toThrow(/namePrefix/);
});
