/** What a direct dump goes through (kcr-dump.c, step_names), in this order, until it has `ended`. */
export const DUMP_STEPS = ["waiting", "pausing", "dumping", "copying", "resumed", "packing"] as const;

export type DumpStep = (typeof DUMP_STEPS)[number];
