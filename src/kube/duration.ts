/** Milliseconds of a unit. Source: Go's time.ParseDuration, which reads a `metav1.Duration`. */
const UNITS: Record<string, number> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** What a {@link parseDuration} reads: units from hours to milliseconds, of which there is at least one. */
export const DURATION = /^([0-9]+(\.[0-9]+)?(h|ms|m|s))+$/;

/**
 * Milliseconds of a duration such as `720h` or `1h30m`.
 *
 * Errors: a TypeError for what is no duration; so is a number without a unit.
 */
export function parseDuration(text: string): number {
  if (!DURATION.test(text)) throw new TypeError(`${JSON.stringify(text)} is no duration: write 720h or 30m`);
  let ms = 0;
  for (const [, number = "", unit = ""] of text.matchAll(/([0-9.]+)(ms|h|m|s)/g)) {
    ms += Number(number) * UNITS[unit]!;
  }
  return ms;
}
