import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { type ContainerStatus, findContainer } from "../../api/pod.ts";
import { readRecords } from "../../api/records.ts";
import { specHash } from "../../api/spec-hash.ts";
import type { Pod } from "../../kube/resources.ts";
import { digestIn } from "../restore/reference.ts";

/** Finds a Checkpoint of the pod's namespace by its name. */
export type Named = (checkpoint: string) => Checkpoint | undefined;

/**
 * Why the Checkpoint's memory is not of the program that the container runs; undefined where it fits.
 *
 * The image is judged by its digest, whatever its name, or by its name where a digest is not known. What else the
 * process was given is judged by the hash in the Checkpoint, unless `onSpecChange` is Restore.
 */
export function misfit(
  checkpoint: Checkpoint,
  pod: Pod,
  name: string,
  status: ContainerStatus | undefined,
  named: Named,
  onSpecChange: "Fresh" | "Restore",
): KcrError | undefined {
  const container = findContainer(pod, name);
  const { baseImage, baseImageDigest, specHash: taken } = checkpoint.status ?? {};
  if (container === undefined) return undefined;
  const base = baseOf(pod, name, status, named);
  const [theirs, own] = [digestIn(baseImageDigest), digestIn(base.digest)];
  const isSame = theirs !== undefined && own !== undefined ? theirs === own : baseImage === base.image;
  if (!isSame) {
    const text = (image = "unknown", digest = "digest unknown") => `${image} (${digest})`;
    return new KcrError(
      "ImageDiffers",
      `Checkpoint ${checkpoint.metadata.name} is of image ${text(baseImage, theirs)}, container ${name} runs ${text(base.image, own)}`,
    );
  }
  if (onSpecChange === "Restore" || taken === undefined) return undefined;
  // By the image's name of then: what it is was judged above.
  if (specHash(container, baseImage ?? base.image) === taken) return undefined;
  return new KcrError(
    "SpecChanged",
    `the command, environment, mounts or security context of container ${name} differ from what they were when Checkpoint ${checkpoint.metadata.name} was taken`,
  );
}

/** The image that the container's program is of, also where a checkpoint's image stands in its place. */
function baseOf(
  pod: Pod,
  name: string,
  status: ContainerStatus | undefined,
  named: Named,
): { image: string; digest: string | undefined } {
  const record = readRecords(pod)[name];
  const image = record?.originalImage ?? findContainer(pod, name)?.image ?? "";
  const parent = record?.parent === undefined ? undefined : named(record.parent);
  return {
    image,
    digest: record?.parent === undefined ? status?.imageID : parent?.status?.baseImageDigest,
  };
}
