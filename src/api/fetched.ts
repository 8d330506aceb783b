import type { KubeObject } from "../kube/resources.ts";
import { FETCHED_ANNOTATION } from "./labels.ts";

/**
 * The annotation kcr.io/fetched-copies of a node: names of the copies there, by the sha256 of their archives, whose
 * Checkpoints were not taken on it. Its agent writes it, for it may write no Checkpoint of another node; the operator
 * tells of them in the Checkpoints' `status.copies`.
 */

/** Copies that are told of: beyond them a node's annotation would be large. */
const TOLD = 256;
const NAMES = /^[0-9a-f]{64}(,[0-9a-f]{64})*$/;

/** The same copies are the same text; undefined where there are none. */
export function fetchedText(copies: Iterable<string>): string | undefined {
  return [...new Set(copies)].sort().slice(0, TOLD).join(",") || undefined;
}

/** The copies that a node's annotation names; none where it is none of an agent's. */
export function readFetched({ metadata }: KubeObject): string[] {
  const text = metadata.annotations?.[FETCHED_ANNOTATION] ?? "";
  return text.length < TOLD * 65 && NAMES.test(text) ? text.split(",") : [];
}
