import { describe, expect, it } from "vitest";
import type { Facts } from "../../api/facts.ts";
import { FACTS_ANNOTATION } from "../../api/labels.ts";
import type { Node } from "../../kube/resources.ts";
import { NodeFacts } from "./node-facts.ts";

const MACHINE: Facts = { architecture: "amd64", cpuFeatures: "avx", kernel: "6.1.0", pageSize: undefined };
const LEARNED: Facts = {
  criu: "4.2.1",
  xsave: { features: "0x7", size: 832, maxSize: 832 },
  runtime: "runc",
};
const nodeWith = (written: object | undefined, containerRuntimeVersion = "containerd://2.3.7"): Node => ({
  metadata: {
    name: "worker",
    annotations: written && { [FACTS_ANNOTATION]: JSON.stringify(written) },
  },
  status: { nodeInfo: { containerRuntimeVersion } } as Node["status"],
});
const factsOf = (machine = MACHINE) => new NodeFacts(async () => machine);

describe("what is known of a node", () => {
  it("is what is seen, and what its kubelet says of the runtime", async () => {
    expect(await factsOf().of(nodeWith(undefined))).toEqual({
      ...MACHINE,
      engine: "containerd",
      engineVersion: "2.3.7",
    });
    expect(await factsOf().of(nodeWith(undefined, "cri-o://1.34.0"))).toMatchObject({
      engine: "cri-o",
      engineVersion: "1.34.0",
    });
    expect(await factsOf().of(undefined)).toMatchObject(MACHINE);
  });

  it("is also what was dumped there last, as far as that says it", async () => {
    const facts = factsOf();
    let changes = 0;
    const end = facts.subscribe(() => changes++);
    facts.learn({ ...LEARNED, architecture: "arm64" });
    expect(await facts.of(nodeWith(undefined))).toMatchObject({ ...LEARNED, architecture: "amd64" });
    facts.learn({ criu: "5.0" });
    expect(await facts.of(nodeWith(undefined))).toMatchObject({ ...LEARNED, criu: "5.0" });
    expect(changes).toBe(2);
    end();
    facts.learn({});
    expect(changes).toBe(2);
  });

  it("is taken from an agent before it, until there is a dump, while the machine is the same", async () => {
    const written = {
      ...JSON.parse(JSON.stringify(MACHINE)),
      ...LEARNED,
      engine: "containerd",
      engineVersion: "2.2.0",
    };
    const facts = factsOf();
    expect(await facts.of(nodeWith(written))).toMatchObject({ ...LEARNED, engineVersion: "2.3.7" });
    facts.learn({ criu: "4.3" });
    expect(await facts.of(nodeWith(written))).toMatchObject({ ...LEARNED, criu: "4.3" });

    const otherMachine = await factsOf({ ...MACHINE, cpuFeatures: "" }).of(nodeWith(written));
    expect(otherMachine.criu).toBeUndefined();
    expect(otherMachine.xsave).toBeUndefined();
  });

  it("is asked of the machine once, and again after an error", async () => {
    let asked = 0;
    const facts = new NodeFacts(async () => {
      if (++asked === 1) throw new Error("no /proc");
      return MACHINE;
    });
    await expect(facts.of(undefined)).rejects.toThrow("no /proc");
    await Promise.all([facts.of(undefined), facts.of(undefined)]);
    expect(asked).toBe(2);
  });
});
