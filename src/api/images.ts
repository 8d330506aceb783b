import type { Checkpoint } from "./checkpoint.ts";
import { pullAddress, registryOf, type Settings } from "./settings.ts";

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/**
 * Where a Checkpoint's image lies, if its status names a place that a Checkpoint of its namespace may have:
 * whoever can write a status in one namespace must not reach the images of another.
 */
export function imagePlace(
  checkpoint: Checkpoint,
  settings: Settings,
): { repository: string; digest: string | undefined } | undefined {
  const { checkpointImage: repository, imageDigest } = checkpoint.status ?? {};
  if (settings.registry === undefined) return undefined;
  const own = `${settings.registry.prefix}/${checkpoint.metadata.namespace}/checkpoint-`;
  if (repository === undefined || !repository.startsWith(own) || repository.includes("..")) return undefined;
  if (repository.indexOf("/", own.length) >= 0) return undefined;
  return {
    repository,
    digest: imageDigest !== undefined && DIGEST.test(imageDigest) ? imageDigest : undefined,
  };
}

/** What a container's image becomes to restore the Checkpoint: by digest, at the address that nodes use now. */
export function restoreImage(checkpoint: Checkpoint, settings: Settings): string | undefined {
  const place = imagePlace(checkpoint, settings);
  return place?.digest && `${pullAddress(registryOf(settings))}/${place.repository}@${place.digest}`;
}

/** The Checkpoint whose image a container has, at whatever address, with or without a tag; "unknown" for one of ours that is gone. */
export function checkpointOfImage(
  image: string,
  namespace: string,
  all: readonly Checkpoint[],
  settings: Settings,
): Checkpoint | "unknown" | undefined {
  const [tagged, digest] = image.split("@");
  const name = tagged?.replace(/:[^:/]*$/, "");
  const { registry } = settings;
  if (registry === undefined || digest === undefined) return undefined;
  if (!name?.includes(`/${registry.prefix}/${namespace}/checkpoint-`)) {
    return undefined;
  }
  const found = all.find((c) => {
    const place = imagePlace(c, settings);
    return place?.digest === digest && name.endsWith(`/${place.repository}`);
  });
  return found ?? "unknown";
}
