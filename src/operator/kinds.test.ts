import { expect, it } from "vitest";
import { customResourceDefinitions } from "../api/crd.ts";
import { KINDS_ANNOTATION, KINDS_VERSION } from "../api/group.ts";
import type { KubeObject } from "../kube/resources.ts";
import { lackOf } from "./kinds.ts";

const kind = (version?: number): KubeObject => ({
  metadata: {
    name: "a",
    ...(version === undefined ? {} : { annotations: { [KINDS_ANNOTATION]: `${version}` } }),
  },
});

it("kinds of this version, and of a later one, lack nothing", () => {
  expect(lackOf(new Map([["a", kind(KINDS_VERSION)]]))).toBeUndefined();
  expect(lackOf(new Map([["a", kind(KINDS_VERSION + 1)]]))).toBeUndefined();
  const own = [...customResourceDefinitions().values()] as KubeObject[];
  expect(lackOf(new Map(own.map((crd) => [crd.metadata.name, crd])))).toBeUndefined();
});

it("those that are of an earlier one, or not there, are named", () => {
  const kinds = new Map([
    ["a", kind(KINDS_VERSION)],
    ["b", undefined],
    ["c", undefined],
    ["d", kind()],
  ]);
  expect(lackOf(kinds)).toMatchObject({
    code: "KindsOutdated",
    message: `b, c are not there; d is of protocol 1, and ${KINDS_VERSION} is needed`,
  });
});
