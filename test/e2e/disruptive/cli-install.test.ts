import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { stringify } from "yaml";
import { localSettings } from "../../../cluster/install.ts";
import { deployments, namespaces, nodes, type Pod, pods } from "../../../src/kube/resources.ts";
import { kcr } from "../../support/cli.ts";
import { installKcr } from "../../support/install.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { remains } from "../../support/remains.ts";
import { capture, crash, deployProtected } from "../../support/runtime.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("kcr uninstall and kcr install", () => {
  let world: World;
  let work: string;
  let image: string;
  let byHandler: Pod;
  let byImage: Pod;
  let isWhole = true;
  beforeAll(async () => {
    world = await World.enter(cluster!, "cli-install");
    // Pods and workloads of the files before this one would be counted too.
    await waitFor(
      "what other tests have left to go",
      async () => {
        const { items } = await world.client.list(namespaces);
        return items.every(({ metadata }) => metadata.deletionTimestamp === undefined);
      },
      { timeoutMs: 180_000 },
    );
    work = await mkdtemp(join(tmpdir(), "cli-install-"));
    const operator = { namespace: "kcr-system", name: "kcr-operator" };
    image = (await world.client.get(deployments, operator)).spec?.template.spec?.containers[0]?.image ?? "";
    [byHandler, byImage] = await Promise.all([
      deployProtected(world, {
        name: "handler",
        schedule: RARELY,
        node: world.worker("2.4"),
        containers: [carrier(world)],
      }),
      world.deploy({ name: "image", schedule: RARELY, containers: [carrier(world)] }),
    ]);
    await Promise.all([capture(world, byHandler), world.checkpoint(byImage)]);
    await waitFor("pods of other tests to be gone", async () => {
      const { items } = await world.client.listAll(pods);
      const others = items.filter(({ metadata }) => metadata.namespace !== world.namespace);
      return !others.some(({ spec }) => spec?.runtimeClassName === "kcr");
    });
  });
  afterAll(async () => {
    if (!isWhole) await installKcr(world.cluster);
    await rm(work, { recursive: true });
    await world.leave();
  });
  const left = () => remains(world, [byHandler, byImage]);
  const containerIDs = () =>
    Promise.all([byHandler, byImage].map(async (pod) => (await world.container(pod)).containerID));

  it("takes away all but what a running pod needs, and leaves every container alone", async () => {
    isWhole = false;
    const before = await containerIDs();
    const { code, stdout, stderr } = await kcr(world, ["uninstall", "--yes"]);
    expect(code, stderr).toBe(0);
    const worker = world.worker("2.4");
    expect(stdout).toMatch(
      new RegExp(`${worker}: the runtime handler.*1 pod of class kcr: ${world.namespace}/handler-`),
    );
    expect(stdout).toMatch(/annotation kcr.io\/checkpoint-restore-schedule on 2 workloads/);
    const { objects, files } = await left();
    expect(objects).toEqual([
      "clusterrolebindings kcr-installer",
      "clusterroles kcr-installer",
      "configmaps kcr-system/kcr-config",
      "daemonsets kcr-system/kcr-installer",
      "leases kcr-system/kcr-installer",
      "namespaces kcr-system",
      `nodes ${worker}: kcr.io/runtime`,
      "resourcequotas kcr-system/kcr-system-priority",
      "rolebindings kcr-system/kcr-installer",
      "roles kcr-system/kcr-installer",
      "runtimeclasses kcr",
      "serviceaccounts kcr-system/kcr-installer",
    ]);
    expect(files[worker]).toEqual([
      "/etc/containerd/conf.d/kcr.toml",
      "/opt/kcr-runtime",
      "/var/lib/kcr/disabled",
      "/var/lib/kcr/ids",
      "/var/lib/kcr/runs",
    ]);
    expect({ ...files, [worker]: [] }).toEqual({ [world.worker("2.3")]: [], [worker]: [] });
    expect(await containerIDs()).toEqual(before);
    expect(await Promise.all([mark(world, byHandler), mark(world, byImage)])).toEqual([0, 0]);
  });

  it("takes that away too once the pod is gone", async () => {
    await world.cluster.kubectl(["-n", world.namespace, "delete", "deployment/handler"]);
    await waitFor("its pod to be gone", async () => {
      const { items } = await world.client.list(pods, { namespace: world.namespace });
      return !items.some(({ spec }) => spec?.runtimeClassName === "kcr");
    });
    const { code, stdout, stderr } = await kcr(world, ["uninstall", "--yes"]);
    expect(code, stderr).toBe(0);
    expect(stdout).not.toMatch(/handler/);
    const { objects, files } = await left();
    expect(objects).toEqual([]);
    expect(files).toEqual(Object.fromEntries(world.cluster.nodes.map(({ name }) => [name, []])));
    for (const { name } of world.cluster.nodes) {
      const { status } = await world.client.get(nodes, { name });
      expect(status?.runtimeHandlers?.map((handler) => handler.name)).not.toContain("kcr");
    }
    expect((await kcr(world, ["uninstall", "--yes"])).stdout).toBe("nothing of kcr is in the cluster\n");
    expect((await kcr(world, ["check", "deploy/image"])).stderr).toMatch(/NotInstalled/);
  });

  it("brings it back, so that a crash is restored again", async () => {
    const settings = join(work, "settings.yaml");
    // As for the other tests that use this cluster.
    await writeFile(settings, stringify({ ...localSettings(world.cluster), restore: { stableSeconds: 10 } }));
    const { code, stdout, stderr } = await kcr(world, ["install", "--image", image, "--settings", settings]);
    expect([code, stdout], stderr).toEqual([
      0,
      expect.stringMatching(/^\d+ objects applied\nkcr is ready\n/),
    ]);
    const again = await kcr(world, ["install"]);
    expect([again.code, again.stdout], again.stderr).toEqual([0, stdout]);

    await waitFor("the annotation to count again", () => world.schedule("image"));
    const pod = await deployProtected(world, {
      name: "again",
      schedule: RARELY,
      node: world.worker("2.4"),
      containers: [carrier(world)],
    });
    await advance(world, pod);
    await capture(world, pod);
    expect((await crash(world, pod)).restartCount).toBe(1);
    expect(await mark(world, pod)).toBe(1);
    isWhole = true;
  });
});
