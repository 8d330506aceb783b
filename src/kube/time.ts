/**
 * A time as `MicroTime` fields want it: RFC 3339 with exactly six digits of fraction. Source: apimachinery's
 * `RFC3339Micro`.
 */
export function microTime(time = new Date()): string {
  return time.toISOString().replace("Z", "000Z");
}
