import { expect, it } from "vitest";
import type { Node } from "../src/kube/resources.ts";
import { stateOf } from "./handler.ts";

const offered = { runtimeHandlers: [{ name: "kcr" }] };
const node = (node: object): Node => ({ metadata: { name: "worker-1" }, ...node }) as Node;
const annotated = (result: string) => ({
  name: "worker-1",
  annotations: { "kcr.io/runtime-selftest": result },
});

it.each<[string, object]>([
  ["its runtime does not offer it yet", {}],
  ["the agent has it restore a pod of its own", { status: offered }],
  ["the agent has it restore a pod of its own", { status: offered, metadata: annotated("no JSON") }],
  [
    "its self-test failed: CRIU is missing",
    { status: offered, metadata: annotated('{"result":"failed","message":"CRIU is missing"}') },
  ],
  ["it works", { status: offered, metadata: { name: "worker-1", labels: { "kcr.io/runtime": "ready" } } }],
])("%s", (said, given) => {
  expect(stateOf(node(given))).toBe(said);
});
