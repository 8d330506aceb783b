import { readFileSync } from "node:fs";

/** Bits of capabilities as in linux/capability.h. */
const BITS = { SYS_RESOURCE: 24n };

/** Whether this process, and with it the nodes of local clusters, may do what a capability allows. */
export function hasCapability(name: keyof typeof BITS): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> BITS[name]) & 1n) === 1n;
}

/** For the name of a test that is skipped without a capability: why. */
export const missing = (name: keyof typeof BITS): string =>
  hasCapability(name) ? "" : ` (this machine lacks CAP_${name})`;
