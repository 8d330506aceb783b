/** By what bytes are added up. */
export const GROUPINGS = ["workload", "namespace", "node", "registry"] as const;
export type Grouping = (typeof GROUPINGS)[number];
