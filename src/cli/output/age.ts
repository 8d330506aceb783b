/**
 * A length of time as kubectl shows ages, given in milliseconds: `42s`, `5m12s`, `3h7m`, `3d4h`, `2y40d`.
 * Source: apimachinery's `duration.HumanDuration`.
 */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  const minutes = Math.trunc(seconds / 60);
  const hours = Math.trunc(minutes / 60);
  const days = Math.trunc(hours / 24);
  const years = Math.trunc(days / 365);
  const two = (first: string, rest: number, unit: string) => (rest === 0 ? first : `${first}${rest}${unit}`);
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return two(`${minutes}m`, seconds % 60, "s");
  if (hours < 3) return `${minutes}m`;
  if (hours < 8) return two(`${hours}h`, minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  if (hours < 192) return two(`${days}d`, hours % 24, "h");
  if (years < 2) return `${days}d`;
  if (years < 8) return two(`${years}y`, days % 365, "d");
  return `${years}y`;
}

/** How long ago a time of an object was; undefined where there is none, or none that can be read. */
export function age(time: string | undefined, now = Date.now()): string | undefined {
  const at = Date.parse(time ?? "");
  return Number.isNaN(at) ? undefined : humanDuration(now - at);
}

/** How far away a time is: `in 4m10s`, or, once it is past, `12s ago`. */
export function relative(time: string | undefined, now = Date.now()): string | undefined {
  const at = Date.parse(time ?? "");
  if (Number.isNaN(at)) return undefined;
  return at > now ? `in ${humanDuration(at - now)}` : `${humanDuration(now - at)} ago`;
}
