import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type ApiServer, startApiServer } from "../../../test/support/apiserver.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { ARCHIVE_FINALIZER, IMAGE_FINALIZER } from "../../api/checkpoint.ts";
import { checkpoints } from "../../api/kinds.ts";
import { Client } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { customResourceDefinitions, daemonSets, type KubeObject, nodes } from "../../kube/resources.ts";
import { removeData } from "../uninstall/data.ts";
import { keepInstallerOn } from "../uninstall/handler.ts";
import type { Step } from "../uninstall/step.ts";
import { cleanNodes } from "../uninstall/traces.ts";
import { uninstall } from "../uninstall/uninstall.ts";
import { applyAll, removeBoundInstaller } from "./install.ts";
import { AGENT, INSTALLER, KCR_NAMESPACE } from "./installed.ts";
import { resourceOf } from "./kinds.ts";
import { manifests } from "./manifests.ts";
import { chooseSettings } from "./settings.ts";

/** An API server without controllers: what is applied to it stays as it is. */
describe.skipIf(inject("whyNotApiServer"))("an installation", () => {
  const { signal } = new AbortController();
  let api: ApiServer;
  let client: Client;
  let said: string[];
  let step: Step;
  beforeAll(async () => {
    api = await startApiServer();
    client = Client.fromConfig({ kubeconfig: api.kubeconfig });
    said = [];
    const stays = (text: string) => said.push(text);
    step = { client, signal, patienceMs: 30_000, doing() {}, done() {}, stays };
  });
  afterAll(async () => {
    client.close();
    await api.stop();
  });

  const objects = (engine: string): KubeObject[] => {
    const { settings } = chooseSettings({ store: "node", engine });
    return manifests({ image: "r.example/kcr:1", settings, written: `engine: ${engine}`, handler: true });
  };
  const versions = async (all: readonly KubeObject[]) =>
    Promise.all(
      all.map(async (one) => (await client.get(resourceOf(one), one.metadata)).metadata.resourceVersion),
    );
  const named = (name: string) => ({ namespace: KCR_NAMESPACE, name });

  it("whose data was kept is not said to be gone without it", async () => {
    const notes = async () =>
      (await client.list(nodes)).items.map(({ metadata }) => metadata.annotations ?? {});
    const kept = { "kcr.io/kept-data": "/var/lib/kcr" };
    await client.create(nodes, { metadata: { name: "a", labels: { "kcr.io/runtime": "ready" } } });
    await client.create(nodes, { metadata: { name: "b" } });
    await cleanNodes(step, { inUse: [], data: "kept" });
    // Cut short, and done again.
    await cleanNodes(step, { inUse: [], data: "kept" });
    expect(await notes()).toEqual([kept, {}]);
    const end = (keepData: boolean) => uninstall(step, { keepData, timeoutMs: 1000 });
    expect(await end(true)).toBe("gone");
    expect([await notes(), said]).toEqual([[kept, {}], []]);
    expect(await end(false)).toBe("gone");
    expect(said.pop()).toMatch(/^\/var\/lib\/kcr .* on a: remove that directory there, or do kcr install/);
    expect([await notes(), await end(false)]).toEqual([[{}, {}], "nothing-there"]);
    // By an installer that has removed it.
    await client.patch(nodes, { name: "a" }, { type: "merge", body: { metadata: { annotations: kept } } });
    await cleanNodes(step, { inUse: [], data: "gone" });
    expect(await notes()).toEqual([{}, {}]);
  });

  it("that is applied again is not changed", async () => {
    const all = objects("runc");
    await applyAll(client, all, () => {}, signal);
    const quiet = all.filter(({ kind }) => kind !== customResourceDefinitions.kind);
    const before = await versions(quiet);
    await applyAll(client, all, () => {}, signal);
    expect(await versions(quiet)).toEqual(before);
  });

  it("takes back what it does not want any more", async () => {
    const podOf = async () => (await client.get(daemonSets, named(AGENT))).spec?.template.spec;
    expect((await podOf())?.hostPID).toBe(true);
    await applyAll(client, objects("kubelet"), () => {}, signal);
    const pod = await podOf();
    expect(pod?.hostPID).toBeUndefined();
    expect(pod?.containers[0]?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
  });

  it("frees the installer that an uninstall has bound to nodes, and touches no other", async () => {
    const uid = async () => (await client.get(daemonSets, named(INSTALLER))).metadata.uid;
    const first = await uid();
    await removeBoundInstaller(client, signal);
    expect(await uid()).toBe(first);
    await keepInstallerOn(step, [{ node: "n", pods: ["ns/p"] }]);
    expect(said.pop()).toBe(
      "n: the runtime handler, which passes everything on, for 1 pod of class kcr: ns/p",
    );
    await removeBoundInstaller(client, signal);
    await expect(uid()).rejects.toSatisfy(isNotFound);
  });

  it("without programs that could, is let go of with its bytes, which are named", async () => {
    await waitFor("the kind", () => client.list(checkpoints));
    await client.create(checkpoints, {
      metadata: { namespace: "default", name: "c", finalizers: [ARCHIVE_FINALIZER, IMAGE_FINALIZER] },
      spec: {
        checkpointData: "checkpoint-c.tar",
        checkpointTimestamp: "2026-01-01T12:00:00Z",
        checkpointID: "c",
        containerName: "app",
        nodeName: "n",
      },
    });
    const status = { runtimeImage: "r.example/kcr/default/checkpoint-x@sha256:0" };
    await client.patch(
      checkpoints,
      { namespace: "default", name: "c" },
      { type: "merge", body: { status } },
      { subresource: "status" },
    );
    await removeData(step);
    const kinds = (await client.list(customResourceDefinitions)).items.map(({ metadata }) => metadata.name);
    expect(kinds.filter((name) => name.includes("kcr.io"))).toEqual([]);
    expect(said).toEqual([
      "1 image in the registry, which nobody could delete: r.example/kcr/default/checkpoint-x@sha256:0",
      "perhaps 1 archive in the kubelets' checkpoint directories: checkpoint-c.tar on n",
    ]);
  });
});
