import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Facts, facts, fitsValue } from "./facts.ts";
import { describeDoubts, describeMisfits, differencesIn, whyNotHere } from "./fit.ts";

const FACTS: Required<Facts> = {
  architecture: "amd64",
  pageSize: 4096,
  cpuFeatures: "avx avx2 sse2",
  xsave: { features: "0xe5", size: 2432, maxSize: 2432 },
  kernel: "6.12.3",
  criu: "4.2.1",
  engine: "containerd",
  engineVersion: "2.3.7",
  runtime: "runc",
  cgroup: "v2",
};

describe("a checkpoint on a node", () => {
  it.each<[string, Facts]>([
    ["the same", {}],
    ["a processor that has more", { cpuFeatures: "avx avx2 avx512f sse2" }],
    ["a newer CRIU", { criu: "5.0" }],
    ["another patch release of CRIU, also an older one", { criu: "4.2" }],
    ["a newer kernel", { kernel: "7.0.0-rc1" }],
    ["an older patch of the kernel", { kernel: "6.12.0" }],
    ["another version of the runtime", { engineVersion: "2.4.2" }],
  ])("fits one that has %s", (_, change) => {
    expect(whyNotHere(FACTS, { ...FACTS, ...change })).toEqual([]);
  });

  it.each<[string, Facts, Facts, string, string, string]>([
    ["architecture", {}, { architecture: "arm64" }, "architecture", "amd64", "arm64"],
    ["pages", {}, { pageSize: 65536 }, "page size", "4096", "65536"],
    [
      "features less",
      { cpuFeatures: "avx avx512f fma sse2" },
      { cpuFeatures: "avx avx2 sse2" },
      "CPU features",
      "avx512f fma",
      "none of these",
    ],
    [
      "states that it does not save",
      {},
      { xsave: { features: "0x65", size: 2432, maxSize: 2432 } },
      "xsave states",
      "0xe5, 2432 of 2432 bytes",
      "0x65, 2432 of 2432 bytes",
    ],
    [
      "larger frames",
      {},
      { xsave: { features: "0x2e5", size: 2696, maxSize: 2696 } },
      "xsave states",
      "0xe5, 2432 of 2432 bytes",
      "0x2e5, 2696 of 2696 bytes",
    ],
    [
      "frames that could be larger",
      {},
      { xsave: { features: "0xe5", size: 2432, maxSize: 2440 } },
      "xsave states",
      "0xe5, 2432 of 2432 bytes",
      "0xe5, 2432 of 2440 bytes",
    ],
    ["an older CRIU", {}, { criu: "4.1.1" }, "CRIU", "4.2.1", "4.1.1"],
    ["a much older CRIU", {}, { criu: "3.19" }, "CRIU", "4.2.1", "3.19"],
    ["an older CRIU, by number and not by letter", { criu: "4.10" }, { criu: "4.9" }, "CRIU", "4.10", "4.9"],
    ["engine", {}, { engine: "cri-o" }, "container runtime", "containerd", "cri-o"],
    ["OCI runtime", {}, { runtime: "crun" }, "OCI runtime", "runc", "crun"],
    ["control groups", {}, { cgroup: "v1" }, "cgroup version", "v2", "v1"],
  ])("does not fit one with other %s", (_, ofCheckpoint, ofNode, fact, checkpoint, node) => {
    const misfits = whyNotHere({ ...FACTS, ...ofCheckpoint }, { ...FACTS, ...ofNode });
    expect(misfits).toEqual([{ fact, verdict: "differs", checkpoint, node }]);
    expect(differencesIn(misfits)).toEqual(misfits);
    expect(describeMisfits(misfits)).toBe(`${fact} (${checkpoint} at the checkpoint, ${node} on the node)`);
    expect(describeDoubts(misfits)).toBeUndefined();
  });

  it("is doubtful on an older kernel, and not kept away", () => {
    const misfits = whyNotHere(FACTS, { ...FACTS, kernel: "6.8.0-45-generic" });
    expect(misfits).toEqual([
      { fact: "kernel", verdict: "doubtful", checkpoint: "6.12.3", node: "6.8.0-45-generic" },
    ]);
    expect(differencesIn(misfits)).toEqual([]);
    expect(describeDoubts(misfits)).toBe(
      "it may fail over kernel (6.12.3 at the checkpoint, 6.8.0-45-generic on the node)",
    );
  });

  it("names everything that differs", () => {
    const misfits = whyNotHere(FACTS, { ...FACTS, criu: "4.0", cgroup: "v1" });
    expect(describeMisfits(misfits)).toMatch(/^CRIU \(.*\), cgroup version \(.*\)$/);
  });

  it.each([
    ["the node", FACTS, undefined],
    ["the checkpoint", undefined, FACTS],
    ["both", undefined, undefined],
  ])("of which nothing is known of %s is not kept away, and that is said", (_, checkpoint, node) => {
    const misfits = whyNotHere(checkpoint, node);
    expect(misfits.length).toBeGreaterThanOrEqual(8);
    expect(misfits.every(({ verdict }) => verdict === "unknown")).toBe(true);
    expect(differencesIn(misfits)).toEqual([]);
    expect(describeDoubts(misfits)).toContain("not known of checkpoint or node: architecture, page size");
  });

  it("is said what is not known on which side", () => {
    expect(whyNotHere(FACTS, { ...FACTS, criu: undefined })).toEqual([
      { fact: "CRIU", verdict: "unknown", checkpoint: "4.2.1", node: undefined },
    ]);
    expect(whyNotHere({ ...FACTS, cpuFeatures: undefined }, FACTS)).toEqual([
      { fact: "CPU features", verdict: "unknown", checkpoint: undefined, node: "avx avx2 sse2" },
    ]);
    expect(whyNotHere(FACTS, { ...FACTS, criu: "GITID" })).toMatchObject([
      { fact: "CRIU", verdict: "unknown" },
    ]);
  });

  it("is not asked for xsave where there is none", () => {
    const arm: Facts = { ...FACTS, architecture: "arm64", cpuFeatures: "asimd", xsave: undefined };
    expect(whyNotHere(arm, arm)).toEqual([]);
    expect(whyNotHere(FACTS, arm).map(({ fact }) => fact)).toEqual(["architecture", "CPU features"]);
  });
});

describe("of any facts", () => {
  const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
  const version = fc.tuple(fc.nat(9), fc.nat(20), fc.nat(9)).map((numbers) => numbers.join("."));
  const arbitrary: fc.Arbitrary<Facts> = fc.record({
    architecture: optional(fc.constantFrom("amd64", "arm64")),
    pageSize: optional(fc.constantFrom(4096, 65536)),
    cpuFeatures: optional(
      fc
        .uniqueArray(fc.constantFrom("sse2", "avx", "avx2", "fma", "avx512f"))
        .map((names) => names.join(" ")),
    ),
    xsave: optional(
      fc.record({
        features: fc.constantFrom("0x7", "0xe7", "0x2e7"),
        size: fc.constantFrom(832, 2696),
        maxSize: fc.constantFrom(832, 2696),
      }),
    ),
    kernel: optional(version),
    criu: optional(version),
    engine: optional(fc.constantFrom("containerd", "cri-o")),
    engineVersion: optional(version),
    runtime: optional(fc.constantFrom("runc", "crun")),
    cgroup: optional(fc.constantFrom("v1" as const, "v2" as const)),
  });

  it("a checkpoint fits where it was taken", () => {
    fc.assert(
      fc.property(arbitrary, (one) => {
        expect(whyNotHere(one, one).filter(({ verdict }) => verdict !== "unknown")).toEqual([]);
      }),
    );
  });

  it("nodes with the same label keep the same checkpoints away", () => {
    fc.assert(
      fc.property(arbitrary, arbitrary, version, version, (checkpoint, node, kernel, engineVersion) => {
        const other = { ...node, kernel, engineVersion, criu: node.criu && `${node.criu}.1` };
        expect(fitsValue(other)).toBe(fitsValue(node));
        const facts = (here: Facts) => differencesIn(whyNotHere(checkpoint, here)).map(({ fact }) => fact);
        expect(facts(other)).toEqual(facts(node));
      }),
    );
  });

  it("fitting is passed on: what fits a node, of which another's checkpoints fit a third, fits the third", () => {
    const everything = arbitrary.map(
      (one): Required<Facts> => ({ ...FACTS, ...JSON.parse(JSON.stringify(one)) }),
    );
    const fits = (checkpoint: Facts, node: Facts) => differencesIn(whyNotHere(checkpoint, node)).length === 0;
    fc.assert(
      fc.property(everything, everything, everything, (a, b, c) => {
        if (fits(a, b) && fits(b, c)) expect(fits(a, c)).toBe(true);
      }),
    );
  });

  it("what is not known never keeps a checkpoint away", () => {
    const { architecture: _, ...others } = FACTS;
    const key = fc.constantFrom(...Object.keys(others));
    const count = (checkpoint: Facts, node: Facts) => differencesIn(whyNotHere(checkpoint, node)).length;
    fc.assert(
      fc.property(arbitrary, arbitrary, key, (checkpoint, node, key) => {
        const known = count(checkpoint, node);
        expect(count(checkpoint, { ...node, [key]: undefined })).toBeLessThanOrEqual(known);
        expect(count({ ...checkpoint, [key]: undefined }, node)).toBeLessThanOrEqual(known);
      }),
    );
  });

  it("what an agent may have written is read, and judged without an error", () => {
    fc.assert(
      fc.property(arbitrary, (one) => {
        expect(facts.safeParse(JSON.parse(JSON.stringify(one))).success).toBe(true);
      }),
    );
  });
});
