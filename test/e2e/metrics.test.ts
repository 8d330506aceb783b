import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { forwardPort } from "../../src/kube/port-forward.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { Installation } from "../support/installation.ts";
import { metricsNamed } from "../support/monitoring.ts";
import { advance, carrier } from "../support/programs.ts";
import { capture, crash, deployProtected, handlersReady } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");
const PORT = 8081;

// Side by side: they disturb nothing.
describe.skipIf(cluster === undefined).concurrent("what operator and agents tell", () => {
  let world: World;
  let kcr: Installation;
  beforeAll(async () => {
    world = await World.enter(cluster!, "metrics");
    kcr = new Installation(world);
  });
  afterAll(() => world.leave());

  it("is every metric that the alerts and the dashboard name, and these can be applied", async () => {
    const served = new Set<string>();
    for (const { status } of [await kcr.leader(), await kcr.agent("worker-1"), await kcr.agent("worker-2")]) {
      const said = await (await fetch(`http://${status?.podIP}:${PORT}/metrics`)).text();
      for (const [, name] of said.matchAll(/^# TYPE (\S+) /gm)) served.add(name!);
    }
    expect((await metricsNamed()).filter((name) => !served.has(name))).toEqual([]);
    const directory = join(import.meta.dirname, "../../config/monitoring");
    const built = await world.cluster.kubectl(["kustomize", directory]);
    for (const kind of ["PodMonitor", "PrometheusRule", "ConfigMap"])
      expect(built).toContain(`kind: ${kind}\n`);
  });

  it("of a container that the handler restored, is that, and how old its state was", async () => {
    await handlersReady(world);
    const node = world.worker("2.4");
    const agent = await kcr.agent(node);
    const restores = () => kcr.metric(agent, 'kcr_restores_total{strategy="Runtime",result="restored"}');
    const ages = () => kcr.metric(agent, 'kcr_restored_age_seconds_count{strategy="Runtime"}');
    const pod = await deployProtected(world, { schedule: RARELY, node, containers: [carrier(world)] });
    await advance(world, pod);
    await capture(world, pod);
    const [restored, aged] = [await restores(), await ages()];
    await crash(world, pod);
    await waitFor("the restore to be counted", async () => (await restores()) > restored);
    expect(await ages()).toBeGreaterThan(aged);
    expect(await kcr.metric(agent, "kcr_restore_seconds_sum")).toBeGreaterThan(0);
    expect(await kcr.metric(agent, "kcr_disk_free_bytes")).toBeGreaterThan(0);
    expect(await kcr.metric(agent, "kcr_runtime_ready")).toBe(1);
    for (const measured of ["kcr_dump_seconds_count", "kcr_copy_seconds_count", "kcr_push_seconds_count"]) {
      expect(await kcr.metric(agent, measured), measured).toBeGreaterThan(0);
    }
    expect(await kcr.metric(await kcr.leader(), "kcr_stored_bytes{")).toBeGreaterThan(0);
  });

  it("of their log level, is for those alone who may forward their ports", async () => {
    const agent = await kcr.agent("worker-1");
    const outside = `http://${agent.status?.podIP}:${PORT}/loglevel`;
    expect((await fetch(outside, { method: "PUT", body: "debug" })).status).toBe(403);
    expect(await logLevel(agent)).toBe("info");
    try {
      expect(await logLevel(agent, "debug")).toBe("debug");
      await waitFor("a line of that level", async () =>
        (await world.cluster.kubectl(["-n", kcr.namespace, "logs", agent.metadata.name])).includes(
          '"level":20',
        ),
      );
    } finally {
      await logLevel(agent, "info");
    }
  });

  /** What a pod says of its log level over a forwarded port, after it was set if it is to be. */
  async function logLevel({ metadata }: Pod, wanted?: string): Promise<string> {
    const stream = await forwardPort(world.client, metadata, PORT);
    try {
      return await new Promise((resolve, reject) => {
        const asked = request({
          createConnection: () => stream,
          path: "/loglevel",
          method: wanted === undefined ? "GET" : "PUT",
        });
        asked.on("error", reject).on("response", async (answer) => {
          resolve((await answer.setEncoding("utf8").toArray()).join("").trim());
        });
        asked.end(wanted);
      });
    } finally {
      stream.destroy();
    }
  }
});
