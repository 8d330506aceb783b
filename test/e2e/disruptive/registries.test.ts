import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { createAuthority } from "../../../cluster/pki.ts";
import { type Checkpoint, IMAGE_PUSHED } from "../../../src/api/checkpoint.ts";
import { findCondition } from "../../../src/api/conditions.ts";
import { checkpoints } from "../../../src/api/kinds.ts";
import type { Pod } from "../../../src/kube/resources.ts";
import { absent } from "../../../src/kube/write.ts";
import { RegistryClient } from "../../../src/oci/registry.ts";
import { installKcr } from "../../support/install.ts";
import { Installation } from "../../support/installation.ts";
import { startRegistry, type TestRegistry } from "../../support/registry.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, redis, redisCommand, World } from "../../support/world.ts";

const cluster = inject("cluster");
const SECRET = "kcr-registry";

/** What a user sets up for a registry of their own: kcr's settings and Secret, the nodes' trust, a pull secret. */
class OwnRegistry {
  readonly world: World;
  readonly kcr: Installation;
  readonly registry: TestRegistry;

  private constructor(world: World, registry: TestRegistry) {
    this.world = world;
    this.kcr = new Installation(world);
    this.registry = registry;
  }

  static async install(
    stem: string,
    options: { auth: "basic" | "token"; tls: boolean },
  ): Promise<OwnRegistry> {
    const world = await World.enter(cluster!, stem);
    const registry = await startRegistry({ ...options, host: world.cluster.hostAddress });
    const own = new OwnRegistry(world, registry);
    await own.writeSecret(own.kcr.namespace);
    await own.writeSecret(world.namespace);
    await own.configureNodes();
    const { address, plainHttp } = registry;
    await installKcr(world.cluster, {
      registry: {
        push: address,
        pull: address,
        plainHttp,
        ...(plainHttp ? {} : { caFile: "/etc/kcr-registry/ca.crt" }),
        credentialsFile: "/etc/kcr-registry/.dockerconfigjson",
        pullSecrets: [SECRET],
      },
    });
    return own;
  }

  /** Writes the Secret of a namespace: right, or with something wrong in it. */
  async writeSecret(namespace: string, wrong: { password?: string; ca?: string } = {}): Promise<void> {
    const secret = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { namespace, name: SECRET },
      type: "kubernetes.io/dockerconfigjson",
      stringData: this.#files(wrong),
    };
    const apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    await this.world.cluster.kubectl(apply, { input: JSON.stringify(secret) });
  }

  /** Writes kcr's own Secret and waits until it is seen. */
  async giveKcr(wrong: { password?: string; ca?: string } = {}): Promise<void> {
    await this.writeSecret(this.kcr.namespace, wrong);
    for (const [file, content] of Object.entries(this.#files(wrong))) {
      await this.kcr.seesSecret(file, content);
    }
  }

  #files({ password, ca }: { password?: string; ca?: string }): Record<string, string> {
    const { address, credentials } = this.registry;
    const auth = `${credentials?.username}:${password ?? credentials?.password}`;
    return {
      ".dockerconfigjson": JSON.stringify({
        auths: { [address]: { auth: Buffer.from(auth).toString("base64") } },
      }),
      "ca.crt": ca ?? this.registry.ca ?? "",
    };
  }

  async configureNodes(): Promise<void> {
    const { address, plainHttp, ca = "" } = this.registry;
    const url = `${plainHttp ? "http" : "https"}://${address}`;
    const trust = plainHttp ? "" : `\n  ca = "${this.#hosts}/ca.crt"`;
    const files = {
      "ca.crt": ca,
      "hosts.toml": `server = "${url}"\n[host."${url}"]\n  capabilities = ["pull", "resolve"]${trust}\n`,
    };
    for (const node of this.world.cluster.nodes) {
      for (const [file, input] of Object.entries(files)) {
        const write = `mkdir -p "$1" && cat >"$1/$2"`;
        const argv = ["sh", "-c", write, "sh", this.#hosts, file];
        await this.world.cluster.nodeExec(node.name, argv, { input });
      }
    }
  }

  get #hosts(): string {
    return `/etc/kcr/certs.d/${this.registry.address}`;
  }

  deploy(name: string): Promise<Pod> {
    const podSpec = { imagePullSecrets: [{ name: SECRET }] };
    return this.world.deploy({ name, schedule: RARELY, containers: [redis(this.world)], podSpec });
  }

  /** A Checkpoint of the pod, whatever becomes of its image. */
  async take(pod: Pod): Promise<Checkpoint> {
    const { name } = pod.metadata;
    const { status } = await this.world.request(`take-${name}`, { podReference: { name } });
    return await this.get(status?.checkpoint?.name ?? "");
  }

  get(name: string): Promise<Checkpoint> {
    return this.world.client.get(checkpoints, { namespace: this.world.namespace, name });
  }

  /** Waits for the reason why a Checkpoint has no image. */
  async refusal({ metadata }: Checkpoint): Promise<string> {
    return await waitFor("the Checkpoint to say why it has no image", async () => {
      const found = findCondition((await this.get(metadata.name)).status?.conditions, IMAGE_PUSHED);
      return found?.status === "False" && found.reason;
    });
  }

  /** Whether the registry has the Checkpoint's image, by its own account. */
  async hasImage({ status }: Checkpoint): Promise<boolean> {
    const { address, plainHttp, ca, credentials } = this.registry;
    await using client = new RegistryClient({ address, plainHttp, ca, credentials, userAgent: "kcr-test" });
    const { checkpointImage: repository = "", imageDigest = "" } = status ?? {};
    return (await client.headManifest(repository, imageDigest)) !== undefined;
  }

  async remove(): Promise<void> {
    const { cluster: local, client, namespace } = this.world;
    client.close();
    try {
      // While there is a registry from which the images of its Checkpoints can go.
      await local.kubectl(["delete", "namespace", namespace, "--timeout=60s"]);
    } finally {
      await local.kubectl(["-n", this.kcr.namespace, "delete", "secret", SECRET, "--ignore-not-found"]);
      for (const node of local.nodes) await local.nodeExec(node.name, ["rm", "-rf", this.#hosts]);
      await this.registry.stop();
      await installKcr(local);
    }
  }
}

describe.skipIf(cluster === undefined)("a registry with TLS and basic auth", () => {
  let own: OwnRegistry;
  beforeAll(async () => {
    own = await OwnRegistry.install("tls", { auth: "basic", tls: true });
  });
  afterAll(() => own.remove());

  it("takes the image of a checkpoint over TLS, and a crash is restored from it", async () => {
    const pod = await own.deploy("restored");
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET greeting hello")).toBe("+OK");
    const checkpoint = await own.world.checkpoint(pod);
    expect(checkpoint.status?.runtimeImage).toContain(own.registry.address);
    expect(await own.hasImage(checkpoint)).toBe(true);
    await own.world.crash(pod);
    expect(await redisCommand(ip, "GET greeting")).toContain("hello");
  });

  it.each([
    ["the wrong password", { password: "wrong" }, "RegistryUnauthorized"],
    ["the CA of another", { ca: createAuthority("another").cert }, "RegistryUntrusted"],
  ])("given %s says so, and gets the image once that is put right", async (_, wrong, reason) => {
    await own.giveKcr(wrong);
    const pod = await own.deploy(reason.toLowerCase());
    const checkpoint = await own.take(pod);
    expect(await own.refusal(checkpoint)).toBe(reason);
    await own.world.event(reason, checkpoint.metadata.name);
    await own.giveKcr();
    await own.world.good(checkpoint.metadata.name);
  });
});

describe.skipIf(cluster === undefined)("a registry with token auth", () => {
  let own: OwnRegistry;
  beforeAll(async () => {
    own = await OwnRegistry.install("token", { auth: "token", tls: false });
  });
  afterAll(() => own.remove());

  it("takes the image of a checkpoint, from which a crash is restored, and loses it with its Checkpoint", async () => {
    const pod = await own.deploy("restored");
    const ip = pod.status?.podIP ?? "";
    expect(await redisCommand(ip, "SET greeting hello")).toBe("+OK");
    const checkpoint = await own.world.checkpoint(pod);
    expect(await own.hasImage(checkpoint)).toBe(true);
    await own.world.crash(pod);
    expect(await redisCommand(ip, "GET greeting")).toContain("hello");

    const { name, namespace } = checkpoint.metadata;
    await own.world.client.delete(checkpoints, { namespace, name });
    await waitFor("the Checkpoint to go", async () => (await own.get(name).catch(absent)) === undefined);
    expect(await own.hasImage(checkpoint)).toBe(false);
  });
});
