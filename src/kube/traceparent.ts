/**
 * Where a trace goes on, as one party tells another. Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
 */
export interface Traceparent {
  /** 32 and 16 hexadecimal digits in lower case, not all 0. */
  traceId: string;
  /** The span within which whoever is told works. */
  spanId: string;
  /** Whether spans are to be written at all. */
  sampled: boolean;
}

/** Of a version that is not known the parts of version 00 are read, as the standard asks. */
const FORM = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Undefined for what is none. */
export function parseTraceparent(text: string | undefined): Traceparent | undefined {
  const [, version, traceId, spanId, flags, more] = FORM.exec(text ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  if (version === "00" && more !== undefined) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export const formatTraceparent = ({ traceId, spanId, sampled }: Traceparent): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
