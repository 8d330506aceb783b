import { expect, test } from "vitest";
import { freeIndex, parseContainerd, planCluster } from "./plan.ts";

test("addresses of one cluster never meet, nor those of two", () => {
  const plans = [0, 1, 59].map((index) =>
    planCluster({ name: `c${index}`, index, containerd: Array(100).fill("2.3") }),
  );
  const all = plans.flatMap((plan) => [
    plan.host.ip,
    plan.controlPlane.ip,
    plan.services.subnet,
    ...plan.workers.flatMap((worker) => [worker.ip, worker.podSubnet]),
  ]);
  expect(new Set(all).size).toBe(all.length);
  for (const plan of plans) {
    const prefix = plan.network.replace(".0.0/16", ".");
    expect(all.filter((address) => address.startsWith(prefix))).toHaveLength(3 + 200);
  }
  expect(new Set(plans.map((plan) => plan.host.link)).size).toBe(3);
});

test("a plan names its parts", () => {
  expect(planCluster({ name: "kcr", index: 1, containerd: ["2.3", "2.4"] })).toEqual({
    name: "kcr",
    index: 1,
    network: "10.191.0.0/16",
    host: { link: "kcr1", ip: "10.191.0.1" },
    controlPlane: { name: "control-plane", ip: "10.191.0.2" },
    services: { subnet: "10.191.255.0/24", api: "10.191.255.1" },
    workers: [
      { name: "worker-1", ip: "10.191.0.11", podSubnet: "10.191.1.0/24", containerd: "2.3" },
      { name: "worker-2", ip: "10.191.0.12", podSubnet: "10.191.2.0/24", containerd: "2.4" },
    ],
    maxRestartPeriod: "1s",
  });
});

test.each(["", "../x", "A", "a/b", "-a", "a b", "a".repeat(41)])("%j is no cluster name", (name) => {
  expect(() => planCluster({ name, index: 0, containerd: ["2.3"] })).toThrow("not a cluster name");
});

test.each<[string, number | undefined, string[]]>([
  ["2.3", undefined, ["2.3"]],
  ["2.3,2.4", undefined, ["2.3", "2.4"]],
  ["2.4", 3, ["2.4", "2.4", "2.4"]],
  ["2.3, 2.4", 3, ["2.3", "2.4", "2.4"]],
])("--containerd %s --nodes %s", (list, nodes, expected) => {
  expect(parseContainerd(list, nodes)).toEqual(expected);
});

test("containerd versions that are not built, and too few nodes for them, are refused", () => {
  expect(() => parseContainerd("1.7")).toThrow("containerd 1.7 is not offered");
  expect(() => parseContainerd("2.3,2.4", 1)).toThrow("--nodes");
  expect(() => parseContainerd("2.3", Number.NaN)).toThrow("--nodes");
});

test("a network is free when no cluster and no route of the host has it", () => {
  expect(freeIndex([], [])).toBe(0);
  expect(freeIndex([0, 2], [])).toBe(1);
  expect(freeIndex([0], ["10.191.0.0/16", "default", "192.168.1.0/24", "10.192.4.0/24"])).toBe(3);
  expect(() => freeIndex([...Array(60).keys()], [])).toThrow("taken");
});
