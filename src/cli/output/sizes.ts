const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A number of bytes for people: `17 B`, `1.1 GiB`, `742 MiB`. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.95 would be shown as 1024.0 of the smaller unit.
  while (value >= 1023.95 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** A short time for people, given in microseconds: `850 us`, `119 ms`, `2.4 s`, `3m20s`. */
export function duration(microseconds: number): string {
  if (microseconds < 1000) return `${Math.round(microseconds)} us`;
  if (microseconds < 999_500) return `${(microseconds / 1000).toFixed(microseconds < 9950 ? 1 : 0)} ms`;
  const seconds = microseconds / 1e6;
  if (seconds < 119.95) return `${seconds.toFixed(seconds < 99.95 ? 1 : 0)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}m${whole % 60}s`;
}
