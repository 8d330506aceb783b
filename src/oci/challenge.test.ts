import fc from "fast-check";
import { expect, test } from "vitest";
import { parseChallenges } from "./challenge.ts";

test("reads one challenge, several in a header, and several headers", () => {
  expect(
    parseChallenges('Bearer realm="https://a/t?x=1,2",service="a \\"b\\"",scope="repository:a:pull,push"'),
  ).toEqual([
    {
      scheme: "bearer",
      parameters: { realm: "https://a/t?x=1,2", service: 'a "b"', scope: "repository:a:pull,push" },
    },
  ]);
  expect(parseChallenges('Basic realm="x", Bearer realm=y')).toMatchObject([
    { scheme: "basic" },
    { scheme: "bearer" },
  ]);
  expect(parseChallenges(["Basic", "BEARER realm=z"]).map(({ scheme }) => scheme)).toEqual([
    "basic",
    "bearer",
  ]);
  expect(parseChallenges(undefined)).toEqual([]);
});

test("any text ends in a list", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      expect(Array.isArray(parseChallenges(text))).toBe(true);
      expect(Array.isArray(parseChallenges(`Bearer realm="${text}`))).toBe(true);
    }),
  );
  expect(parseChallenges(`Bearer realm="${'\\"'.repeat(1_000_000)}`)).toHaveLength(1);
});
