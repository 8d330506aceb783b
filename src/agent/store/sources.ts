import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { imagePlace } from "../../api/images.ts";
import { openRegistry } from "../../api/registry.ts";
import type { Settings } from "../../api/settings.ts";
import { isDigest } from "../../oci/digest.ts";
import { parseManifest } from "../../oci/manifest.ts";
import { FileSource } from "../../oci/source.ts";
import type { ArchiveStream } from "./unpack.ts";

/** An archive in a file. To be closed. `digest`, in hex, where it is known. Errors: those of the file system. */
export async function archiveFile(
  path: string,
  digest: string | undefined,
): Promise<ArchiveStream & AsyncDisposable> {
  const file = await FileSource.open(path);
  return {
    name: path,
    size: file.size,
    digest,
    read: () => file.read(0),
    [Symbol.asyncDispose]: () => file.close(),
  };
}

/** Whether the Checkpoint's archive can be read back from its image. */
export const hasImage = (checkpoint: Checkpoint, settings: Settings): boolean =>
  imagePlace(checkpoint, settings)?.digest !== undefined;

/**
 * The archive of a Checkpoint as its image in the registry holds it: the image's only layer. To be closed.
 *
 * Errors: KcrError CopyMissing where there is no image, ArchiveInvalid for an image that is none of kcr's, or of
 * another archive; `RegistryError` and `CredentialsError`; the signal's reason.
 */
export async function archiveInRegistry(
  checkpoint: Checkpoint,
  settings: Settings,
  signal: AbortSignal,
): Promise<ArchiveStream & AsyncDisposable> {
  const { name } = checkpoint.metadata;
  const place = imagePlace(checkpoint, settings);
  if (!isDigest(place?.digest)) throw new KcrError("CopyMissing", `Checkpoint ${name} has no image`);
  const { repository, digest } = place;
  const image = `${repository}@${digest}`;
  await using opened = new AsyncDisposableStack();
  const registry = opened.use(await openRegistry(settings, "kcr-agent"));
  const layer = onlyLayer(image, (await registry.getManifest(repository, digest, { signal })).bytes);
  const known = checkpoint.status?.digest;
  if (known !== undefined && known !== layer.digest) {
    throw new KcrError("ArchiveInvalid", `${image} holds ${layer.digest}, not the Checkpoint's ${known}`);
  }
  const open = opened.move();
  return {
    name: image,
    size: layer.size,
    digest: layer.digest.replace(/^sha256:/, ""),
    read: (signal) => registry.getBlob(repository, layer, { signal }),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

function onlyLayer(image: string, manifest: Uint8Array) {
  try {
    const { layers } = parseManifest(manifest);
    if (layers.length === 1) return layers[0]!;
  } catch (cause) {
    throw new KcrError("ArchiveInvalid", `${image} is no image of a checkpoint`, { cause });
  }
  throw new KcrError("ArchiveInvalid", `${image} has not one layer`);
}
