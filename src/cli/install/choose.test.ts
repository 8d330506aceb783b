import { expect, test } from "vitest";
import type { Deployment } from "../../kube/resources.ts";
import { choose } from "./choose.ts";
import { INSTALLER } from "./installed.ts";

const image = "r.example/kcr:1";
const installed = (handler: boolean) => ({
  operator: { metadata: { name: "kcr-operator" } } as Deployment,
  image,
  written: { store: "node" },
  handler,
});

test.each([
  ["installed for the first time", { image, store: "node" }, undefined, true],
  ["installed without it", { image, store: "node", handler: false }, undefined, false],
  ["changed, and has it", {}, installed(true), true],
  ["changed, and was installed without it", { engine: "kubelet" }, installed(false), false],
  ["given it later", { handler: true }, installed(false), true],
])("kcr that is %s gives nodes the handler, or leaves them alone", async (_, flags, before, expected) => {
  const { objects } = await choose(flags, before);
  const installers = objects.filter(
    ({ kind, metadata }) => kind === "DaemonSet" && metadata.name === INSTALLER,
  );
  expect(installers.length > 0).toBe(expected);
});
