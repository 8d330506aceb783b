import { createHash } from "node:crypto";

/** RuntimeClass of the self-test's pod: of the same handler as kcr, for every node. */
export const SELFTEST_CLASS = "kcr-selftest";
const PREFIX = "kcr-selftest-";

/** Name of a node's self-test pod: the same each time, and one for each node. */
export const selftestName = (node: string): string =>
  `${PREFIX}${createHash("sha256").update(node).digest("hex").slice(0, 12)}`;

/** Whether a pod is a self-test's, of whose plan and notes nobody else takes care. */
export const isSelftest = (pod: { spec?: { runtimeClassName?: string } }): boolean =>
  pod.spec?.runtimeClassName === SELFTEST_CLASS;
