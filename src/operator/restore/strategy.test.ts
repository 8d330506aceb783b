import { describe, expect, it } from "vitest";
import { imageRestore } from "./strategy.ts";

describe("restore from an image", () => {
  it.each([
    ["containerd://1.7.27", "no"],
    ["containerd://2.0.5", "no"],
    ["containerd://2.1.0", "yes"],
    ["containerd://2.2.6", "yes"],
    ["containerd://2.2.7", "if-configured"],
    ["containerd://v2.3.3", "yes"],
    ["containerd://2.3.7", "if-configured"],
    ["containerd://2.4.0", "no"],
    ["containerd://3.0.0", "no"],
    ["cri-o://1.34.0", "if-configured"],
    ["docker://20.10.0", "no"],
    ["", "no"],
  ])("%s: %s", (version, expected) => {
    expect(imageRestore(version).type).toBe(expected);
  });
});
