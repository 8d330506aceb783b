import { createHash } from "node:crypto";
import { z } from "zod";
import type { Node } from "../kube/resources.ts";
import { isKnown } from "../store/protocol.ts";
import { FACTS_ANNOTATION } from "./labels.ts";

const version = z.string().max(128);

/**
 * What a processor saves of itself with `xsave`, as CRIU reads it from CPUID leaf 0xd (compel/arch/x86/src/lib/cpu.c).
 */
export const xsave = z.object({
  features: z
    .string()
    .regex(/^0x[0-9a-f]{1,16}$/)
    .describe("Mask of the states that are saved, hexadecimal."),
  size: z
    .int()
    .min(0)
    .max(2 ** 24)
    .describe("Bytes, with what the kernel has turned on."),
  maxSize: z
    .int()
    .min(0)
    .max(2 ** 24)
    .describe("Bytes, with all that the processor has."),
});

/**
 * What a restore depends on of the machine and the programs under it: where a checkpoint was taken, or where one is to
 * be restored. Whatever is not known is not there.
 */
export const facts = z.object({
  architecture: z.string().max(64).optional().describe("Of the processor, as images name it (GOARCH)."),
  pageSize: z
    .int()
    .min(1)
    .max(2 ** 30)
    .optional()
    .describe("Bytes of a page of memory."),
  cpuFeatures: z
    .string()
    .max(4096)
    .optional()
    .describe("What programs may use of the processor: names of /proc/cpuinfo, sorted, with spaces between."),
  xsave: xsave.optional().describe("How the processor saves its state (amd64)."),
  kernel: version.optional().describe("The kernel's release."),
  criu: version.optional().describe("CRIU's version."),
  engine: z.string().max(64).optional().describe("The container runtime that the kubelet speaks to."),
  engineVersion: version.optional(),
  runtime: z.string().max(64).optional().describe("The OCI runtime that it runs."),
  cgroup: z.enum(["v1", "v2"]).optional().describe("Version of the control groups."),
});
export type Facts = z.infer<typeof facts>;

/** The protocol of facts that stand on a node (src/store/protocol.ts). */
export const FACTS_VERSION = 1;

/** Only what is known: to be laid over what is known otherwise. */
export const known = (of: Facts = {}): Facts =>
  Object.fromEntries(Object.entries(of).filter(([, value]) => value !== undefined));

/** The same facts are the same text, for a node's annotation. */
export const factsText = (of: Facts): string =>
  JSON.stringify({
    ...Object.fromEntries(Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1))),
    version: FACTS_VERSION,
  });

/** The facts in a node's annotation; undefined where there are none that can be read, or of a later protocol. */
export function readFacts({ metadata }: Node): Facts | undefined {
  try {
    const value: unknown = JSON.parse(metadata.annotations?.[FACTS_ANNOTATION] ?? "null");
    return isKnown(value, FACTS_VERSION) ? facts.safeParse(value).data : undefined;
  } catch {
    return undefined;
  }
}

/** What stands in a text with spaces between. */
export const namesIn = (text: string): string[] => text.split(" ").filter((name) => name !== "");

/** "4.2.1" -> [4, 2]; undefined for what does not begin with two numbers. */
export function majorMinor(text: string | undefined): readonly [number, number] | undefined {
  const match = /^v?(\d{1,6})\.(\d{1,6})/.exec(text ?? "");
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}

/**
 * The value of the label kcr.io/fits: the same for facts to which the same checkpoints fit, so that a node affinity
 * over the values that fit says where a pod may go. What never keeps a checkpoint away (the kernel, versions of the
 * runtime, CRIU's patch releases) is not in it: see fit.ts.
 */
export function fitsValue(of: Facts): string {
  const { architecture, pageSize, cpuFeatures, xsave, criu, engine, runtime, cgroup } = of;
  const states = xsave && [BigInt(xsave.features).toString(16), xsave.size, xsave.maxSize];
  const features = cpuFeatures === undefined ? undefined : [...new Set(namesIn(cpuFeatures))].sort();
  const all = [architecture, pageSize, features, states, majorMinor(criu), engine, runtime, cgroup];
  const text = JSON.stringify(all.map((one) => one ?? null));
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
