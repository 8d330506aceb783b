import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type Pod, pods } from "../../src/kube/resources.ts";
import { digestOf } from "../../src/oci/digest.ts";
import {
  type Document,
  descriptorOf,
  encodeManifest,
  type Manifest,
  parseManifest,
} from "../../src/oci/manifest.ts";
import { pushDocument } from "../../src/oci/push.ts";
import { Installation } from "../support/installation.ts";
import { waitFor } from "../support/wait-for.ts";
import { counter, RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

/**
 * The kubelet lets a pod with runAsNonRoot and no runAsUser run an image only if that names a user who is not
 * root. Here the very same checkpoint is given two configs that differ in nothing else.
 */
describe.skipIf(cluster === undefined)("a pod with runAsNonRoot", () => {
  let world: World;
  let manifest: Manifest;
  let repository: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "nonroot");
    const pod = await world.deploy({ name: "source", schedule: RARELY, containers: [counter(world)] });
    const { status } = await world.checkpoint(pod);
    repository = status?.checkpointImage ?? "";
    await using registry = new Installation(world).registry();
    const { bytes } = await registry.getManifest(repository, status?.imageDigest ?? "");
    manifest = parseManifest(bytes);
  });
  afterAll(() => world.leave());

  /** Pushes the checkpoint with another user in its config, and gives the reference. */
  async function withUser(user: string): Promise<string> {
    await using registry = new Installation(world).registry();
    const chunks = await Array.fromAsync(registry.getBlob(repository, manifest.config));
    const config = JSON.parse(Buffer.concat(chunks).toString());
    const bytes = Buffer.from(JSON.stringify({ ...config, config: { ...config.config, User: user } }));
    const document: Document = { mediaType: manifest.config.mediaType, digest: digestOf(bytes), bytes };
    // Pods name images of kcr's own repositories only by kcr's hand.
    const elsewhere = `people/${world.namespace}`;
    for (const layer of manifest.layers) await registry.mountBlob(elsewhere, layer.digest, repository);
    await pushDocument(registry, elsewhere, document);
    const changed = encodeManifest(descriptorOf(document), manifest.layers, manifest.annotations);
    await registry.putManifest(elsewhere, changed.digest, changed);
    return `${world.cluster.registry.pull}/${elsewhere}@${changed.digest}`;
  }

  /** Starts a pod of the image and gives what its container comes to: its state, or why there is none. */
  async function startOf(name: string, image: string): Promise<string> {
    await world.client.create(pods, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace: world.namespace },
      spec: {
        nodeName: world.worker("2.3"),
        restartPolicy: "Never",
        automountServiceAccountToken: false,
        securityContext: { runAsNonRoot: true },
        containers: [{ ...counter(world), name: "app", image }],
      },
    } as unknown as Pod);
    return await waitFor(`pod ${name} to start or be refused`, async () => {
      const state = (await world.pod(name)).status?.containerStatuses?.[0]?.state;
      if (state?.running !== undefined) return "running";
      const reason = state?.waiting?.reason;
      return reason === "CreateContainerConfigError" && reason;
    });
  }

  it("runs from a checkpoint whose image names a user that is not root", async () => {
    expect(await startOf("named", await withUser("65532:65532"))).toBe("running");
  });

  it("is refused by its kubelet where the image names root: the user in the config is what decides", async () => {
    expect(await startOf("root", await withUser("0:0"))).toBe("CreateContainerConfigError");
  });
});
