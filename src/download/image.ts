import type { Checkpoint } from "../api/checkpoint.ts";
import { KcrError } from "../api/errors.ts";
import { imagePlace } from "../api/images.ts";
import { openRegistry } from "../api/registry.ts";
import type { Settings } from "../api/settings.ts";
import { isDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { Archive } from "./archive.ts";

/** Whether the Checkpoint tells of an image. */
export const hasImage = (checkpoint: Checkpoint, settings: Settings): boolean =>
  isDigest(imagePlace(checkpoint, settings)?.digest);

/**
 * The archive of a Checkpoint, which is the only layer of its image in the registry.
 *
 * Errors: KcrError ArchiveNowhere where there is no image, ArchiveInvalid for an image of another archive; those of
 * `openRegistry`; RegistryError; the signal's reason.
 */
export async function openImage(
  checkpoint: Checkpoint,
  settings: Settings,
  signal: AbortSignal,
): Promise<Archive> {
  const place = imagePlace(checkpoint, settings);
  const { name } = checkpoint.metadata;
  if (!isDigest(place?.digest)) throw new KcrError("ArchiveNowhere", `Checkpoint ${name} has no image`);
  const { repository, digest } = place;
  const image = `${repository}@${digest}`;
  await using opened = new AsyncDisposableStack();
  const registry = opened.use(await openRegistry(settings, "kcr-download"));
  const { bytes } = await registry.getManifest(repository, digest, { signal });
  const [layer, ...more] = layersOf(image, bytes);
  if (layer === undefined || more.length > 0)
    throw new KcrError("ArchiveInvalid", `${image} has not one layer`);
  if (layer.digest !== checkpoint.status?.digest) {
    throw new KcrError(
      "ArchiveInvalid",
      `${image} holds ${layer.digest}, which the Checkpoint does not tell of`,
    );
  }
  const open = opened.move();
  return {
    from: `registry ${registry.address}`,
    size: layer.size,
    read: (range, limit) => registry.readBlob(repository, layer, range, { signal: limit }),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

function layersOf(image: string, manifest: Uint8Array) {
  try {
    return parseManifest(manifest).layers;
  } catch (cause) {
    throw new KcrError("ArchiveInvalid", `${image} is no image of a checkpoint`, { cause });
  }
}
