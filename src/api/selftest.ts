import type { Node } from "../kube/resources.ts";
import { RUNTIME_LABEL, RUNTIME_READY, SELFTEST_ANNOTATION } from "./labels.ts";

/** What the annotation kcr.io/runtime-selftest of a node holds, as JSON. */
export interface SelftestResult {
  /** What was tested. */
  tested?: string;
  result: "ready" | "failed" | "absent";
  reason?: string;
  message: string;
  /** RFC 3339. */
  time: string;
}

/** The result in a node's annotation; undefined for what is none. */
export function readSelftest({ metadata }: Node): SelftestResult | undefined {
  try {
    const value: unknown = JSON.parse(metadata.annotations?.[SELFTEST_ANNOTATION] ?? "null");
    return typeof value === "object" && value !== null ? (value as SelftestResult) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether new pods may count on the node's handler. The label alone does not say so: it stays for the pods of the
 * class that are on the node, which its kubelet would throw out without it, also when the last self-test failed.
 */
export const hasHandlerReady = (node: Node): boolean =>
  node.metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY &&
  (readSelftest(node)?.result ?? "ready") === "ready";
