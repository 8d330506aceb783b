import { access } from "node:fs/promises";
import type { CheckpointArchive, OwnedBytes } from "../../archive/checkpoint.ts";
import type { ClusterFlags } from "../cluster.ts";
import type { Io } from "../io.ts";
import type { RegistryFlags } from "../registry.ts";

/** Where the archive of a checkpoint is to be found. */
export type Place =
  | { type: "file"; path: string }
  /** A Checkpoint of the cluster's. */
  | { type: "object"; name: string }
  /** A checkpoint image in a registry. */
  | { type: "image"; reference: string };

export type OpenFlags = ClusterFlags & RegistryFlags;

/**
 * What a person means by the name of a checkpoint: `checkpoint/<name>` is an object, a name with `@sha256:` an image,
 * what has a `/` elsewhere or is there is a file, and all else the name of an object.
 */
export async function placeOf(text: string): Promise<Place> {
  const named = /^(?:checkpoints?|cp)(?:\.checkpoint-restore\.kcr\.io)?\/([^/]+)$/.exec(text)?.[1];
  const isThere = await access(text).then(
    () => true,
    () => false,
  );
  if (isThere) return { type: "file", path: text };
  if (named !== undefined) return { type: "object", name: named };
  if (/@sha256:[0-9a-f]{64}$/.test(text)) return { type: "image", reference: text };
  return text.includes("/") ? { type: "file", path: text } : { type: "object", name: text };
}

/**
 * Opens the archive of a checkpoint for reading, wherever it lies; nothing of it is written to this machine's disk.
 *
 * Errors: `ArchiveError`, `RegistryError`, KcrErrors of the place; those of the file system.
 */
export async function openArchive(io: Io, text: string, flags: OpenFlags): Promise<CheckpointArchive> {
  const { signal } = io;
  const { openCheckpoint } = await import("../../archive/checkpoint.ts");
  return await openCheckpoint(await bytesOf(io, await placeOf(text), flags), {
    signal,
    mayBeCompressed: true,
  });
}

async function bytesOf(io: Io, place: Place, flags: OpenFlags): Promise<string | OwnedBytes> {
  switch (place.type) {
    case "file":
      return place.path;
    case "image": {
      const { imageBytes } = await import("./image.ts");
      return await imageBytes(io, place.reference, flags);
    }
    case "object":
      return await objectBytes(io, place.name, flags);
    default:
      return place satisfies never;
  }
}

async function objectBytes(io: Io, name: string, flags: ClusterFlags): Promise<OwnedBytes> {
  const [{ connect }, { openRemote }] = await Promise.all([
    import("../cluster.ts"),
    import("../download/fetch.ts"),
  ]);
  const { client, namespace } = await connect(flags);
  try {
    const remote = await openRemote(client, { namespace, name }, io.signal);
    return {
      name: remote.name,
      size: remote.size,
      read: (offset, length) => remote.read(offset, length),
      close: async () => {
        await remote.close();
        client.close();
      },
    };
  } catch (error) {
    client.close();
    throw error;
  }
}
