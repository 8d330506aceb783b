import { randomUUID } from "node:crypto";
import { copyFile, link, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { type Digest, isDigest } from "./digest.ts";
import { type Descriptor, type Document, type Manifest, MEDIA_TYPE, parseManifest } from "./manifest.ts";

/** An image in an OCI layout directory; OCI image-spec 1.1, image-layout.md. */
export interface LayoutImage {
  directory: string;
  /** The image: its manifest's descriptor. */
  descriptor: Descriptor;
  manifest: Manifest;
}

/** Of a blob, below the layout's directory. */
export const blobName = (digest: Digest): string => `blobs/${digest.replace(":", "/")}`;

export const blobPath = (directory: string, digest: Digest): string => join(directory, blobName(digest));

/** The file that says that a directory is a layout. */
export const LAYOUT_FILE = {
  name: "oci-layout",
  content: Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" })),
};

/** Makes an empty layout, or leaves one that is there as it is. */
export async function createLayout(directory: string): Promise<void> {
  await mkdir(join(directory, "blobs", "sha256"), { recursive: true });
  await putWhole(join(directory, LAYOUT_FILE.name), (part) => writeFile(part, LAYOUT_FILE.content));
}

/** Puts a small blob in. */
export async function putDocument(directory: string, document: Document): Promise<void> {
  await putWhole(blobPath(directory, document.digest), (part) => writeFile(part, document.bytes));
}

/** Has a file made under a name of its own and gives it its name: others that make the same one do no harm. */
async function putWhole(path: string, make: (part: string) => Promise<void>): Promise<void> {
  const part = `${path}.${randomUUID()}.part`;
  await make(part);
  await rename(part, path);
}

/** Puts a file in as a blob, as a hard link where that can be; `digest` must be the file's. */
export async function putFile(directory: string, path: string, digest: Digest): Promise<void> {
  const target = blobPath(directory, digest);
  try {
    await link(path, target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "EXDEV" && code !== "EPERM" && code !== "EMLINK") throw error;
    await putWhole(target, (part) => copyFile(path, part));
  }
}

/** Makes `descriptor` the layout's only image. */
export async function writeIndex(directory: string, descriptor: Descriptor, tag?: string): Promise<void> {
  const annotations = tag === undefined ? undefined : { "org.opencontainers.image.ref.name": tag };
  const index = encodeIndex({ ...descriptor, annotations });
  await putWhole(join(directory, "index.json"), (part) => writeFile(part, index));
}

/** The index of a layout with one image. */
export function encodeIndex(image: Descriptor): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.index, manifests: [image] }));
}

const indexFile = z.object({
  manifests: z
    .array(
      z.object({
        mediaType: z.literal(MEDIA_TYPE.manifest),
        digest: z.custom<Digest>(isDigest, "not a sha256 digest"),
        size: z.int().nonnegative(),
      }),
    )
    .length(1),
});

/**
 * Reads a layout that holds one image.
 *
 * Errors: no layout, none or several images, a blob that is missing or has another size than it should.
 */
export async function readLayout(directory: string): Promise<LayoutImage> {
  const [descriptor] = indexFile.parse(
    JSON.parse(await readFile(join(directory, "index.json"), "utf8")),
  ).manifests;
  const manifest = parseManifest(await readFile(blobPath(directory, descriptor!.digest)));
  for (const blob of [manifest.config, ...manifest.layers]) {
    const { size } = await stat(blobPath(directory, blob.digest));
    if (size !== blob.size)
      throw new Error(`${directory}: blob ${blob.digest} has ${size} bytes, not ${blob.size}`);
  }
  return { directory, descriptor: descriptor!, manifest };
}
