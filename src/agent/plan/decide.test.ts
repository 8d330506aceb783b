import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { POISONED, RESTORABLE } from "../../api/checkpoint.ts";
import type { Facts } from "../../api/facts.ts";
import type { Protection } from "../../api/protection.ts";
import { restorePolicy } from "../../api/schedule.ts";
import type { Pod } from "../../kube/resources.ts";
import { parsePlan } from "../../store/plan.ts";
import { decidePlan, leftOut, type PlanInput } from "./decide.ts";

/** Of the node; whatever else is not known keeps nothing away. */
const NODE: Facts = { architecture: "amd64", cpuFeatures: "avx sse2", criu: "4.1" };
const takenWith = (name: string, environment: Facts): Checkpoint => {
  const taken = checkpoint(name);
  return { ...taken, status: { ...taken.status, environment } };
};

const digestOf = (name: string): string => Buffer.from(name).toString("hex").padEnd(64, "0");
const checkpoint = (
  name: string,
  conditions: Record<string, string> = { [RESTORABLE]: "True" },
): Checkpoint =>
  ({
    metadata: { name, namespace: "shop", uid: `uid-${name}` },
    spec: { checkpointTimestamp: "2026-01-01T12:00:00Z", containerName: "app" },
    status: {
      digest: `sha256:${digestOf(name)}`,
      lineage: { podUID: "pod-1", containerID: "c0", restartCount: 0 },
      conditions: Object.entries(conditions).map(([type, status]) => ({ type, status })),
    },
  }) as unknown as Checkpoint;

const pod: Pod = {
  metadata: { name: "cache-0", namespace: "shop", uid: "pod-1" },
  spec: {
    runtimeClassName: "kcr",
    volumes: [
      { name: "own", emptyDir: {} },
      { name: "shared", emptyDir: {} },
      { name: "config", configMap: { name: "c" } },
    ],
    containers: [
      {
        name: "app",
        volumeMounts: ["own", "shared", "config"].map((name) => ({ name, mountPath: `/${name}` })),
      },
      { name: "side", volumeMounts: ["shared", "config"].map((name) => ({ name, mountPath: `/${name}` })) },
    ],
  },
  status: { phase: "Running" },
};
const protection = (restore: object = {}): Protection =>
  ({ schedule: {}, ...restorePolicy.parse(restore) }) as unknown as Protection;

const lineage = [checkpoint("b"), checkpoint("a")];
const input = (changes: Partial<PlanInput> = {}): PlanInput => ({
  pod,
  container: { name: "app", env: [] },
  run: { id: "c1", passedOver: [] },
  protection: protection(),
  lineage,
  copies: new Set(lineage.map(({ metadata }) => digestOf(metadata.name))),
  facts: NODE,
  claimed: false,
  stableSeconds: 30,
  perContainer: 5,
  ...changes,
});
const candidates = (changes: Partial<PlanInput>): string[] | undefined =>
  decidePlan(input(changes))?.candidates.map((candidate) => candidate.checkpoint);

describe("the plan of a container", () => {
  it("names its run and the good Checkpoints of its lineage, in order, and can be read by the handler", () => {
    const plan = decidePlan(input());
    expect(plan).toMatchObject({
      podUID: "pod-1",
      namespace: "shop",
      pod: "cache-0",
      container: "app",
      run: "c1",
      onFailure: true,
      fallback: "FreshStart",
      onSpecChange: "Fresh",
      volumes: "Capture",
      maxAttempts: 3,
      stableSeconds: 30,
      candidates: [
        { checkpoint: "b", uid: "uid-b", copy: digestOf("b"), containerID: "c0" },
        { checkpoint: "a" },
      ],
    });
    expect(plan?.armed).toBeUndefined();
    expect(parsePlan(JSON.stringify(plan))).toEqual(plan);
  });

  it.each<[string, Partial<PlanInput>, string[]]>([
    ["one that is not good", { lineage: [checkpoint("b", {}), checkpoint("a")] }, ["a"]],
    ["one that is being pushed", { lineage: [checkpoint("b", { [RESTORABLE]: "Unknown" })] }, []],
    [
      "a poisoned one",
      { lineage: [checkpoint("b", { [RESTORABLE]: "True", [POISONED]: "True" }), checkpoint("a")] },
      ["a"],
    ],
    ["one that the handler has passed over", { run: { id: "c1", passedOver: ["uid-b"] } }, ["a"]],
    ["one without a copy on the node", { copies: new Set([digestOf("a")]) }, ["a"]],
    [
      "one that does not fit the node",
      { lineage: [takenWith("b", { ...NODE, cpuFeatures: "avx avx512f" }), takenWith("a", NODE)] },
      ["a"],
    ],
  ])("leaves out %s", (_, changes, expected) => {
    expect(candidates(changes)).toEqual(expected);
  });

  it("tells what it leaves out for the node's sake, and only that", () => {
    const newer = takenWith("b", { ...NODE, criu: "4.2.1" });
    expect(leftOut(input({ lineage: [newer, takenWith("a", NODE)] }))).toMatchObject([
      { checkpoint: newer, misfits: [{ fact: "CRIU", checkpoint: "4.2.1", node: "4.1" }] },
    ]);
    expect(leftOut(input({ lineage: [newer], copies: new Set() }))).toEqual([]);
    expect(leftOut(input({ lineage: [newer], run: { id: "c1", passedOver: ["uid-b"] } }))).toEqual([]);
  });

  it("keeps one of which it is not known whether it fits", () => {
    expect(candidates({ lineage: [takenWith("b", {})], facts: {} })).toEqual(["b"]);
  });

  it("names no more candidates than copies are to be kept", () => {
    const many = Array.from({ length: 40 }, (_, i) => checkpoint(`c${i}`));
    const copies = new Set(many.map(({ metadata }) => digestOf(metadata.name)));
    expect(candidates({ lineage: many, copies })).toEqual(["c0", "c1", "c2", "c3", "c4"]);
    expect(candidates({ lineage: many, copies, perContainer: 64 })).toHaveLength(16);
  });

  it.each<[string, Partial<PlanInput>]>([
    ["that is not protected", { protection: undefined }],
    ["whose schedule wants images swapped", { protection: protection({ strategy: "Image" }) }],
    ["that never ran", { run: undefined }],
    ["of a pod that has ended", { pod: { ...pod, status: { phase: "Succeeded" } } }],
  ])("is not there for one %s", (_, changes) => {
    expect(decidePlan(input(changes))).toBeUndefined();
  });

  it("lets a container fail only where there is a state to lose", () => {
    const strict = protection({ fallback: "Fail" });
    expect(decidePlan(input({ protection: strict }))?.fallback).toBe("Fail");
    expect(decidePlan(input({ protection: strict, copies: new Set() }))?.fallback).toBe("Fail");
    expect(decidePlan(input({ protection: strict, lineage: [] }))?.fallback).toBe("FreshStart");
  });

  it("says which environment and which volumes are not the container's own", () => {
    const env = [
      { name: "FIXED", value: "1" },
      { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
      { name: "CPUS", valueFrom: { resourceFieldRef: { resource: "limits.cpu" } } },
      { name: "SECRET", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
    ];
    const plan = decidePlan(input({ container: { name: "app", env } }));
    expect(plan?.perPodEnv).toEqual(["POD_IP", "CPUS"]);
    expect(plan?.sharedVolumes).toEqual(["shared"]);
  });
});

describe("what a person asked for", () => {
  const armed = { id: "wish", checkpoint: checkpoint("a", { [RESTORABLE]: "True", [POISONED]: "True" }) };

  it("is armed beside the candidates, poisoned or not", () => {
    const plan = decidePlan(input({ armed }));
    expect(plan?.armed).toMatchObject({ id: "wish", candidate: { checkpoint: "a" } });
    expect(plan?.candidates).toHaveLength(2);
  });

  it("counts once for a container that nobody protects, with what it is now behind it", () => {
    const plan = decidePlan(input({ armed, protection: undefined }));
    expect(plan).toMatchObject({
      onFailure: false,
      candidates: [{ checkpoint: "b" }, { checkpoint: "a" }],
      armed: { id: "wish" },
    });
  });

  it("is armed for a container that has not run yet", () => {
    const plan = decidePlan(input({ armed, run: undefined, lineage: [] }));
    expect(plan).toMatchObject({ run: "", onFailure: false, armed: { id: "wish" } });
    expect(parsePlan(JSON.stringify(plan))).toEqual(plan);
  });

  it("is not armed where it does not fit the node", () => {
    const armed = { id: "wish", checkpoint: takenWith("a", { ...NODE, architecture: "arm64" }) };
    expect(decidePlan(input({ armed, protection: undefined }))).toBeUndefined();
    expect(decidePlan(input({ armed }))?.armed).toBeUndefined();
  });

  it("waits for its copy", () => {
    expect(decidePlan(input({ armed, copies: new Set() }))?.armed).toBeUndefined();
    expect(decidePlan(input({ armed, copies: new Set(), run: undefined }))).toBeUndefined();
  });

  it("keeps the container that it is for waiting while the copy is on its way", () => {
    const armed = { id: "restore-1", checkpoint: lineage[0]! };
    const given = { run: undefined, protection: undefined, claimed: true, armed };
    expect(decidePlan(input({ ...given, copies: new Set() }))).toBeUndefined();
    expect(decidePlan(input(given))).toMatchObject({ armed: { id: "restore-1" } });
  });

  it("lets the pod's other containers begin at once", () => {
    const plan = decidePlan(input({ run: undefined, claimed: true }));
    expect(plan).toMatchObject({ run: "", onFailure: false, candidates: [] });
  });
});
