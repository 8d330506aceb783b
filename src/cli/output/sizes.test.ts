import { expect, it } from "vitest";
import { duration, size } from "./sizes.ts";

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1024 * 1024 - 1, "1.0 MiB"],
  [742 * 1024 * 1024, "742 MiB"],
  [1.1 * 1024 ** 3, "1.1 GiB"],
  [5000 * 1024 ** 5, "5000 PiB"],
])("%d bytes are %s", (bytes, shown) => {
  expect(size(bytes)).toBe(shown);
});

it.each([
  [850, "850 us"],
  [1500, "1.5 ms"],
  [119_000, "119 ms"],
  [999_600, "1.0 s"],
  [2_400_000, "2.4 s"],
  [119_960_000, "2m0s"],
  [200_000_000, "3m20s"],
])("%d microseconds are %s", (us, shown) => {
  expect(duration(us)).toBe(shown);
});
