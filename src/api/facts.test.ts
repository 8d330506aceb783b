import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Node } from "../kube/resources.ts";
import { FACTS_VERSION, type Facts, factsText, fitsValue, known, majorMinor, readFacts } from "./facts.ts";
import { FACTS_ANNOTATION } from "./labels.ts";

const annotated = (text: string): Node => ({
  metadata: { name: "worker", annotations: { [FACTS_ANNOTATION]: text } },
});
const FACTS: Facts = {
  architecture: "amd64",
  pageSize: 4096,
  cpuFeatures: "avx sse2",
  xsave: { features: "0xe5", size: 2432, maxSize: 2432 },
  kernel: "6.18.44",
  criu: "4.2.1",
  engine: "containerd",
  engineVersion: "2.3.7",
  runtime: "runc",
  cgroup: "v1",
};

describe("a node's facts", () => {
  it("are read from its annotation, without what is not known here", () => {
    expect(readFacts(annotated(JSON.stringify({ ...FACTS, later: 1 })))).toEqual(FACTS);
  });

  it.each([
    ["no annotation", { metadata: { name: "worker" } }],
    ["no JSON", annotated("{")],
    ["a later protocol", annotated(JSON.stringify({ ...FACTS, version: FACTS_VERSION + 1 }))],
    ["none", annotated("null")],
    ["a list", annotated("[]")],
    ["a number of a page that is none", annotated('{"pageSize":-1}')],
    ["features without end", annotated(JSON.stringify({ cpuFeatures: "avx ".repeat(2000) }))],
    ["a mask that is none", annotated('{"xsave":{"features":"e5","size":1,"maxSize":1}}')],
  ])("are none where there is %s", (_, node) => {
    expect(readFacts(node)).toBeUndefined();
  });

  it("are the same text for the same facts, with their protocol's number", () => {
    const { criu, ...rest } = FACTS;
    const text = factsText(FACTS);
    expect(text).toBe(factsText({ criu, ...rest }));
    expect(JSON.parse(text)).toEqual({ ...FACTS, version: FACTS_VERSION });
    expect(readFacts(annotated(text))).toEqual(FACTS);
  });

  it("that are not known are left out, to be laid over others", () => {
    expect(known({ criu: undefined, kernel: "6.1" })).toEqual({ kernel: "6.1" });
    expect(known()).toEqual({});
  });
});

describe("a version", () => {
  it.each([
    ["4.2.1", [4, 2]],
    ["v1.10", [1, 10]],
    ["6.18.44-fc-v657", [6, 18]],
    ["4.2-rc1", [4, 2]],
    ["4", undefined],
    ["unknown", undefined],
    [undefined, undefined],
  ])("%s counts by its first two numbers", (text, expected) => {
    expect(majorMinor(text)).toEqual(expected);
  });
});

describe("the label's value", () => {
  it("is the same from one release of kcr to the next, and can be a label's", () => {
    expect(fitsValue(FACTS)).toBe("6486b3a53287f187");
    expect(fitsValue({})).toMatch(/^[0-9a-f]{16}$/);
  });

  it.each<[string, Facts]>([
    ["the kernel", { kernel: "5.4.0" }],
    ["the version of the runtime", { engineVersion: "2.4.2" }],
    ["a patch release of CRIU", { criu: "4.2" }],
    ["the order of what the processor has", { cpuFeatures: "sse2 avx" }],
    ["how a mask is written", { xsave: { features: "0x00e5", size: 2432, maxSize: 2432 } }],
  ])("does not depend on %s", (_, change) => {
    expect(fitsValue({ ...FACTS, ...change })).toBe(fitsValue(FACTS));
  });

  it("depends on everything else", () => {
    const changes: Facts[] = [
      { architecture: "arm64" },
      { pageSize: 16384 },
      { cpuFeatures: "avx" },
      { xsave: { features: "0xe7", size: 2432, maxSize: 2432 } },
      { xsave: { features: "0xe5", size: 2432, maxSize: 2696 } },
      { criu: "4.1" },
      { engine: "cri-o" },
      { runtime: "crun" },
      { cgroup: "v2" },
    ];
    const { kernel: _, engineVersion: __, ...decisive } = FACTS;
    const unknown = Object.keys(decisive).map((key): Facts => ({ [key]: undefined }));
    const values = [{}, ...changes, ...unknown].map((change) => fitsValue({ ...FACTS, ...change }));
    expect(new Set(values).size).toBe(values.length);
  });

  it("never fails, whatever the facts", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (text, list) => {
        expect(fitsValue({ criu: text, cpuFeatures: list, engine: text })).toMatch(/^[0-9a-f]{16}$/);
      }),
    );
  });
});
