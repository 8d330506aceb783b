import { createHash } from "node:crypto";
import { KcrError } from "../../api/errors.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import { pullAddress, registryOf } from "../../api/settings.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import { type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { delay } from "../../kube/signals.ts";
import { absent } from "../../kube/write.ts";
import { digestOf } from "../../oci/digest.ts";
import { goArchitecture } from "../../oci/image.ts";
import { descriptorOf, encodeConfig, encodeManifest, MEDIA_TYPE } from "../../oci/manifest.ts";
import { pushDocument } from "../../oci/push.ts";
import type { RegistryClient } from "../../oci/registry.ts";
import { type Context, USER_AGENT } from "../context.ts";

/** Result of one node, and until when it is believed without being looked at again. */
interface Result {
  error?: KcrError;
  until: number;
}

const GOOD_MS = 600_000;
const BAD_MS = 10_000;
const PATIENCE_MS = 60_000;
const LOOK_MS = 250;
/** Nodes that are asked at once. */
const AT_ONCE = 10;

export const PROBE_LABEL = "kcr.io/pull-probe";

/**
 * Whether a node's runtime can pull from the registry of checkpoints, found out before any pod's image is
 * changed: a pod of kcr's own namespace, bound to that node, names a tiny image of kcr's own that has nothing
 * to run. It is pulled or it is not; no process is ever started.
 *
 * Guarantees: one probe pod per node, deleted when it has answered, and when this replica leads no more. A node that could pull is believed to while
 * it is being asked again.
 * Caveats: registries that need each pod's own pull secret are answered for kcr's (registry.pullSecrets).
 */
export class PullProbe {
  readonly #context: Context;
  readonly #results = new Map<string, Result>();
  readonly #underWay = new Set<string>();
  /** The probe's image by architecture. */
  readonly #images = new Map<string, Promise<string>>();

  constructor(context: Context) {
    this.#context = context;
  }

  /** Undefined: the node can pull. "unknown": being found out, ask again soon. */
  check(node: string): KcrError | "unknown" | undefined {
    const { now, log, leading } = this.#context;
    const known = this.#results.get(node);
    const fresh = known !== undefined && known.until > now().getTime();
    if (!fresh && !this.#underWay.has(node) && this.#underWay.size < AT_ONCE) {
      this.#underWay.add(node);
      this.#probe(node)
        .then(
          (error) =>
            this.#results.set(node, {
              error,
              until: now().getTime() + (error === undefined ? GOOD_MS : BAD_MS),
            }),
          (error: unknown) => {
            if (!leading.aborted) log.warn({ err: error, node }, "the pull probe could not be cleared away");
          },
        )
        .finally(() => this.#underWay.delete(node));
    }
    if (known === undefined || (known.error !== undefined && !fresh)) return "unknown";
    return known.error;
  }

  /**
   * Asks a node once. Only a pull that was tried and failed counts against it: a pod that the node cannot take,
   * or that a policy forbids, says nothing about the registry, and a pull that fails later is undone.
   */
  async #probe(node: string): Promise<KcrError | undefined> {
    const { client, namespace, now, caches, log, leading } = this.#context;
    const image = await this.#probeImage(node);
    if (image instanceof KcrError) return image;
    const ref: ObjectName = { namespace, name: `kcr-pull-probe-${hash(node)}` };
    // That very pod: the next leader's may have its name by now.
    const remove = async (uid: string | undefined): Promise<void> => {
      if (uid === undefined) return;
      await client.delete(pods, ref, { preconditions: { uid }, gracePeriodSeconds: 0 }).catch(absent);
    };
    // One left behind by a leader that was killed answers a question of then.
    await remove((await client.get(pods, ref).catch(absent))?.metadata.uid);
    const deadline = now().getTime() + PATIENCE_MS;
    let uid: string | undefined;
    try {
      for (; now().getTime() < deadline; await delay(LOOK_MS, leading)) {
        uid ??= await client.create(pods, this.#pod(ref, node, image)).then(
          (made) => made.metadata.uid,
          (error: unknown) => {
            if (!isAlreadyExists(error)) throw error;
            return undefined;
          },
        );
        const pod = caches.pods.get(namespace, ref.name);
        const answer = pod !== undefined && pod.metadata.uid === uid ? answerOf(pod) : "unknown";
        if (answer === "unknown") continue;
        if (answer !== undefined) this.#images.clear();
        return answer;
      }
      log.warn({ node }, "the pull probe was not answered; the node is taken to be able to pull");
    } catch (error) {
      leading.throwIfAborted();
      log.warn(
        { err: error, node },
        "the pull probe could not be made; the node is taken to be able to pull",
      );
    } finally {
      await remove(uid);
    }
    return undefined;
  }

  /** Pushes the probe's image, once per process, and gives the reference by which nodes pull it. */
  async #probeImage(node: string): Promise<string | KcrError> {
    const { settings, caches } = this.#context;
    const architecture =
      caches.nodes.get(undefined, node)?.status?.nodeInfo?.architecture ?? goArchitecture();
    let image = this.#images.get(architecture);
    if (image === undefined) {
      const { registry } = settings;
      if (registry === undefined) return new KcrError("NoRegistry", "there are no checkpoint images");
      const repository = `${registry.prefix}/kcr-pull-probe`;
      image = this.#pushImage(repository, architecture).then(
        ({ digest }) => `${pullAddress(registry)}/${repository}@${digest}`,
      );
      this.#images.set(architecture, image);
    }
    try {
      return await image;
    } catch (cause) {
      this.#images.delete(architecture);
      const told = registryError(cause);
      if (told === undefined) throw cause;
      return told;
    }
  }

  async #pushImage(repository: string, architecture: string): Promise<{ digest: string }> {
    await using registry = await openRegistry(this.#context.settings, USER_AGENT);
    return await pushProbeImage(registry, repository, architecture, this.#context.leading);
  }

  #pod(ref: ObjectName, node: string, image: string): Pod {
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...ref, labels: { [PROBE_LABEL]: "true", "app.kubernetes.io/part-of": "kcr" } },
      spec: {
        nodeName: node,
        restartPolicy: "Never",
        // Needs no address of its own on a node that has none left.
        hostNetwork: true,
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        terminationGracePeriodSeconds: 0,
        tolerations: [{ operator: "Exists" }],
        imagePullSecrets: registryOf(this.#context.settings).pullSecrets.map((name) => ({ name })),
        containers: [
          {
            name: "probe",
            image,
            imagePullPolicy: "Always",
            securityContext: {
              allowPrivilegeEscalation: false,
              capabilities: { drop: ["ALL"] },
              runAsNonRoot: true,
              runAsUser: 65532,
              seccompProfile: { type: "RuntimeDefault" },
            },
          },
        ],
      },
    };
  }
}

/** What the probe pod's status says: an image that was pulled and has nothing to run cannot be created. */
export function answerOf(pod: Pod): KcrError | "unknown" | undefined {
  const state = pod.status?.containerStatuses?.[0]?.state;
  const reason = state?.waiting?.reason;
  if (state?.terminated !== undefined || state?.running !== undefined) return undefined;
  // The node did not take the pod: nothing was pulled, and nothing failed to be.
  if (pod.status?.phase === "Failed") return undefined;
  switch (reason) {
    case "CreateContainerError":
    case "RunContainerError":
      return undefined;
    case "ErrImagePull":
    case "ImagePullBackOff":
    case "InvalidImageName":
    case "RegistryUnavailable":
      return new KcrError(
        "ImagePullFailed",
        `node ${pod.spec?.nodeName} cannot pull ${pod.spec?.containers[0]?.image}: ${state?.waiting?.message ?? reason}`,
      );
    default:
      return "unknown";
  }
}

const hash = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 10);

/** An empty layer: two zero blocks, which end a tar, padded to the usual record. */
const EMPTY_TAR = new Uint8Array(10_240);

/** Pushes an image with an empty root and nothing to run. The same bytes each time, so the same digest. */
async function pushProbeImage(
  registry: RegistryClient,
  repository: string,
  architecture: string,
  signal: AbortSignal,
): Promise<{ digest: string }> {
  const layer = { mediaType: MEDIA_TYPE.layer, digest: digestOf(EMPTY_TAR), bytes: Buffer.from(EMPTY_TAR) };
  const config = encodeConfig({ architecture, os: "linux", diffIds: [layer.digest] });
  const manifest = encodeManifest(descriptorOf(config), [descriptorOf(layer)]);
  await pushDocument(registry, repository, layer, signal);
  await pushDocument(registry, repository, config, signal);
  await registry.putManifest(repository, `v1-${architecture}`, manifest, { signal });
  return manifest;
}
