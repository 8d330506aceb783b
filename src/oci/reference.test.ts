import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertOwnName, formatReference, ImageNameError, parseReference } from "./reference.ts";

const digest = `sha256:${"a".repeat(64)}` as const;

describe("image references", () => {
  test.each([
    ["redis", { registry: "docker.io", repository: "library/redis" }],
    ["redis:7", { registry: "docker.io", repository: "library/redis", tag: "7" }],
    ["index.docker.io/redis", { registry: "docker.io", repository: "library/redis" }],
    ["team/app", { registry: "docker.io", repository: "team/app" }],
    ["localhost/app", { registry: "localhost", repository: "app" }],
    [
      "r.example:5000/kcr/default/checkpoint-a-b:t",
      { registry: "r.example:5000", repository: "kcr/default/checkpoint-a-b", tag: "t" },
    ],
    [`r.example/a@${digest}`, { registry: "r.example", repository: "a", digest }],
    [`[::1]:5000/a:t@${digest}`, { registry: "[::1]:5000", repository: "a", tag: "t", digest }],
  ])("reads %s", (text, expected) => {
    expect(parseReference(text)).toEqual(expected);
  });

  test.each([
    "",
    "A",
    "r.example/",
    "r.example/A",
    "r.example/a//b",
    "r.example/../a",
    "r.example/a/..",
    "r.example/-a",
    "r.example/a:",
    "r.example/a:-t",
    `r.example/a:${"t".repeat(129)}`,
    "r.example/a@sha256:abc",
    `r.example/a@${digest}@${digest}`,
    "r.example:99999/a",
    "r.example:x/a",
    "user@r.example/a",
    "r example/a",
    `r.example/${"a".repeat(250)}`,
    `r.example/${"a/".repeat(100_000)}a`,
  ])("refuses %j", (text) => {
    expect(() => parseReference(text)).toThrow(ImageNameError);
  });

  test("any text is read or refused, and what is read can be written again", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9./:@_-]{0,80}$/)), (text) => {
        try {
          const reference = parseReference(text);
          expect(parseReference(formatReference(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toBeInstanceOf(ImageNameError);
        }
      }),
    );
  });

  test("our own names are kept at 200 characters, registry included", () => {
    const registry = "r.example:5000";
    const fits = "a".repeat(200 - registry.length - 1);
    expect(() => assertOwnName(registry, fits)).not.toThrow();
    expect(() => assertOwnName(registry, `${fits}a`)).toThrow("201 characters (at most 200)");
  });
});
