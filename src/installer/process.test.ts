import { expect, it } from "vitest";
import { flagOf, processOf, unitOf } from "./process.ts";

it.each([
  [["containerd", "--config", "/x"], "/x"],
  [["containerd", "-c", "/x"], "/x"],
  [["containerd", "--config=/x", "--log-level=info"], "/x"],
  [["containerd", "-config", "/x"], "/x"],
  [["containerd", "--log-level", "info"], undefined],
])("the configuration of %j is %s", (args, config) => {
  expect(flagOf(args, "config", "c")).toBe(config);
});

it.each([
  ["version 2", "0::/system.slice/containerd.service\n", "containerd.service"],
  ["version 1", "3:cpu:/x.service\n1:name=systemd:/system.slice/docker.service\n", "docker.service"],
  ["a group below the unit's", "0::/system.slice/containerd.service/init\n", "containerd.service"],
  ["no unit", "0::/kcr/node/system\n", undefined],
])("the unit of a process, with control groups of %s", (_what, text, unit) => {
  expect(unitOf(text)).toBe(unit);
});

it("a process is known by its program, arguments and environment; one that is gone is none", async () => {
  const own = await processOf(process.pid);
  expect(own).toMatchObject({ pid: process.pid, env: { PATH: process.env["PATH"] } });
  expect(await processOf(2 ** 30)).toBeUndefined();
});
