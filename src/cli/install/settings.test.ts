import { expect, it } from "vitest";
import { manifests } from "./manifests.ts";
import { chooseSettings, settingsOfFlags } from "./settings.ts";

it("of several layers the later says more, field by field, and defaults are not written down", () => {
  const installed = { registry: { push: "old.example", prefix: "p" }, engine: "runc" };
  const { settings, written } = chooseSettings(
    installed,
    { limits: { perNode: 3 } },
    settingsOfFlags({ registry: "new.example", store: "registry" }),
  );
  expect(written).toEqual({
    registry: { push: "new.example", prefix: "p" },
    engine: "runc",
    limits: { perNode: 3 },
    store: "registry",
  });
  expect(settings.limits).toEqual({ perNode: 3, perCluster: 50 });
});

it("what is missing or unknown is said by its name", () => {
  expect(() => chooseSettings(settingsOfFlags({}))).toThrow(/registry/);
  expect(() => chooseSettings({ store: "node", regsitry: {} })).toThrow(/regsitry/);
  expect(() => chooseSettings("text")).toThrow(/fields and values/);
});

it("decide what is applied: engine, handler, image, where the policies look for images", () => {
  const choice = (given: object, handler = true) => {
    const { settings } = chooseSettings(given);
    return manifests({ image: "r.example/kcr:1", settings, written: "", handler });
  };
  const find = (objects: ReturnType<typeof choice>, kind: string, name: string) =>
    objects.find((one) => one.kind === kind && one.metadata.name === name) as
      | Record<string, never>
      | undefined;

  const runc = choice({ registry: { push: "a.example", pull: "b.example", prefix: "p" }, engine: "runc" });
  expect(find(runc, "ConfigMap", "kcr-policy")?.["data"]).toEqual({ repository: "b.example/p/" });
  const agent = JSON.stringify(find(runc, "DaemonSet", "kcr-agent"));
  expect(agent).toContain('"privileged":true');
  expect(agent).toContain('"image":"r.example/kcr:1"');
  expect(find(runc, "DaemonSet", "kcr-installer")).toBeDefined();
  expect(runc[0]?.kind).toBe("Namespace");

  const plain = choice({ store: "node" }, false);
  expect(JSON.stringify(plain)).not.toContain('"privileged":true');
  expect(plain.filter(({ metadata }) => metadata.name === "kcr-installer")).toEqual([]);
});
