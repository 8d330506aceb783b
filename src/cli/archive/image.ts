import { KcrError } from "../../api/errors.ts";
import type { OwnedBytes } from "../../archive/checkpoint.ts";
import { StreamedBytes } from "../../archive/streamed.ts";
import { type Descriptor, type Manifest, parseManifest } from "../../oci/manifest.ts";
import { parseReference } from "../../oci/reference.ts";
import type { RegistryClient } from "../../oci/registry.ts";
import type { Io } from "../io.ts";
import { openRegistry, type RegistryFlags } from "../registry.ts";

/** Below this it is quicker to read on than to ask a registry again. */
const SKIP_BYTES = 1024 * 1024;
const FIRST_PART_BYTES = 256 * 1024;
const LARGEST_PART_BYTES = 64 * 1024 * 1024;

/**
 * The archive in a checkpoint image: its only layer, read in parts where it lies.
 *
 * Errors: `RegistryError`, `ImageNameError`; KcrError ArchiveInvalid for an image that is no checkpoint's.
 */
export async function imageBytes(io: Io, reference: string, flags: RegistryFlags): Promise<OwnedBytes> {
  const { signal } = io;
  const { registry, repository, tag, digest } = parseReference(reference);
  const client = await openRegistry(io, flags, registry, repository);
  try {
    const document = await client.getManifest(repository, digest ?? tag ?? "latest", { signal });
    const { layers } = manifestOf(reference, document.bytes);
    const [layer] = layers;
    if (layer === undefined || layers.length > 1) {
      throw new KcrError(
        "ArchiveInvalid",
        `${reference}: an image of ${layers.length} layers, a checkpoint has one`,
      );
    }
    const streamed = new StreamedBytes({
      name: reference,
      size: layer.size,
      skipBytes: SKIP_BYTES,
      open: (start) => ({ position: start, chunks: partsOf(client, repository, layer, start, signal) }),
    });
    const close = async () => {
      await streamed.close();
      await client.close();
    };
    return {
      name: reference,
      size: layer.size,
      digest: layer.digest,
      read: (offset, length) => streamed.read(offset, length),
      readInto: (offset, target) => streamed.readInto(offset, target),
      close,
    };
  } catch (error) {
    await client.close();
    throw error;
  }
}

/**
 * All of a blob from there on, in parts that grow: who reads on asks seldom, and who leaves has not had much sent that
 * nobody reads.
 */
async function* partsOf(
  client: RegistryClient,
  repository: string,
  layer: Descriptor,
  start: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let length = FIRST_PART_BYTES;
  for (let from = start; from < layer.size; length = Math.min(2 * length, LARGEST_PART_BYTES)) {
    const end = Math.min(from + length, layer.size);
    yield* client.readBlob(repository, layer, { from, end }, { signal });
    from = end;
  }
}

function manifestOf(reference: string, bytes: Buffer): Manifest {
  try {
    return parseManifest(bytes);
  } catch (cause) {
    throw new KcrError("ArchiveInvalid", `${reference}: not an image`, { cause });
  }
}
