import { type Checkpoint, IMAGE_PUSHED, RESTORABLE } from "../../api/checkpoint.ts";
import { setCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { imagePlace } from "../../api/images.ts";
import { checkpoints } from "../../api/kinds.ts";
import { openRegistry, registryError } from "../../api/registry.ts";
import type { Pod } from "../../kube/resources.ts";
import { updateStatus } from "../../kube/write.ts";
import { isDigest } from "../../oci/digest.ts";
import { type Context, USER_AGENT } from "../context.ts";

/** How long a registry may take to say whether it has an image: a container that is down waits, in milliseconds. */
const PATIENCE_MS = 2_000;

/** For how long after it did not answer a registry is not asked, so that not each of many containers waits for it. */
const SILENT_MS = 10_000;

/**
 * Looks, before a container is given the image of a Checkpoint, whether the registry still has it. One that says that it
 * has not is told of at the Checkpoint, at the pod, and in the Checkpoint's status: it is good no more.
 *
 * Guarantees: a registry that does not answer keeps nobody from being restored, for the node may have the image, and
 * costs many containers together no more time than the first few.
 */
export class MissingImages {
  readonly #context: Context;
  /** On the clock that nobody sets, in milliseconds. */
  #silentUntil = Number.NEGATIVE_INFINITY;

  constructor(context: Context) {
    this.#context = context;
  }

  async isMissing(pod: Pod, checkpoint: Checkpoint): Promise<boolean> {
    const { settings, log } = this.#context;
    const place = imagePlace(checkpoint, settings);
    if (!isDigest(place?.digest) || performance.now() < this.#silentUntil) return false;
    const { repository, digest } = place;
    const signal = AbortSignal.timeout(PATIENCE_MS);
    try {
      await using registry = await openRegistry(settings, USER_AGENT);
      if ((await registry.headManifest(repository, digest, { signal })) !== undefined) return false;
      // A proxy that has lost its registry answers 404 to everything.
      await registry.ping({ signal });
    } catch (err) {
      if (registryError(err) === undefined && (err as Error).name !== "TimeoutError") throw err;
      if (signal.aborted) this.#silentUntil = performance.now() + SILENT_MS;
      log.info({ repository, digest, err }, "the registry does not say whether it has an image; it is tried");
      return false;
    }
    await tellMissing(this.#context, pod, checkpoint, `${repository}@${digest}`);
    return true;
  }
}

async function tellMissing(
  { client, recorder, now }: Context,
  pod: Pod,
  checkpoint: Checkpoint,
  image: string,
): Promise<void> {
  const error = new KcrError("ImageMissing", `the registry has no ${image}`);
  const told = { status: "False", reason: error.code, message: error.advice } as const;
  await updateStatus(client, checkpoints, checkpoint, ({ status = {} }) => {
    const copies = (status.copies ?? []).filter(({ kind }) => kind !== "Registry");
    const pushed = setCondition(status.conditions, { type: IMAGE_PUSHED, ...told }, now());
    const conditions =
      copies.length > 0 ? pushed : setCondition(pushed, { type: RESTORABLE, ...told }, now());
    return { copies, conditions };
  });
  for (const regarding of [checkpoint, pod]) {
    const note = regarding === pod ? `Checkpoint ${checkpoint.metadata.name}: ${error.advice}` : error.advice;
    recorder.record({ regarding, type: "Warning", reason: error.code, action: "Restore", note });
  }
}
