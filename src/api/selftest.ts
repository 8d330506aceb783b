import type { Node } from "../kube/resources.ts";
import { isKnown } from "../store/protocol.ts";
import { RUNTIME_LABEL, RUNTIME_READY, SELFTEST_ANNOTATION } from "./labels.ts";

/** The protocol of that annotation (src/store/protocol.ts). */
export const SELFTEST_VERSION = 1;

/** What the annotation kcr.io/runtime-selftest of a node holds, as JSON. */
export interface SelftestResult {
  version?: number;
  /** What was tested. */
  tested?: string;
  result: "ready" | "failed" | "absent";
  reason?: string;
  message: string;
  /** RFC 3339. */
  time: string;
}

/** The result in a node's annotation; undefined for what is none, or of a later protocol. */
export function readSelftest({ metadata }: Node): SelftestResult | undefined {
  try {
    const value: unknown = JSON.parse(metadata.annotations?.[SELFTEST_ANNOTATION] ?? "null");
    return typeof value === "object" && value !== null && isKnown(value, SELFTEST_VERSION)
      ? (value as SelftestResult)
      : undefined;
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
