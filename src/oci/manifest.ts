import { z } from "zod";
import { type Digest, digestOf, isDigest } from "./digest.ts";

/** OCI image-spec 1.1, media-types.md; the Docker ones are what registries still hold of older images. */
export const MEDIA_TYPE = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  layerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  layerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

export interface Descriptor {
  mediaType: string;
  digest: Digest;
  /** In bytes. */
  size: number;
  annotations?: Record<string, string>;
}

/** OCI image-spec 1.1, manifest.md. */
export interface Manifest {
  schemaVersion: 2;
  mediaType: string;
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Record<string, string>;
}

/** What a container started from the image is given; OCI image-spec 1.1, config.md. */
export interface ContainerConfig {
  user?: string;
  env?: readonly string[];
  entrypoint?: readonly string[];
  cmd?: readonly string[];
  workingDir?: string;
  labels?: Readonly<Record<string, string>>;
}

export interface ImageConfig {
  /** GOARCH: amd64, arm64 ... */
  architecture: string;
  /** GOOS: linux. */
  os: string;
  container?: ContainerConfig;
  /** The digest of each layer's uncompressed tar, lowest first. */
  diffIds: readonly Digest[];
}

/** A blob that is small enough to be held: the config, the manifest. */
export interface Document {
  mediaType: string;
  digest: Digest;
  bytes: Buffer;
}

const descriptor = z.object({
  mediaType: z.string(),
  digest: z.custom<Digest>(isDigest, "not a sha256 digest"),
  size: z.int().nonnegative(),
  annotations: z.record(z.string(), z.string()).optional(),
});

const manifest = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor),
  annotations: z.record(z.string(), z.string()).optional(),
});

/**
 * Reads an image manifest (OCI or Docker schema 2) that somebody else wrote.
 *
 * Errors: an `Error` that says what is wrong: not JSON, an index, a field missing.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const parsed = manifest.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  return { ...parsed, mediaType: parsed.mediaType ?? MEDIA_TYPE.manifest };
}

/** The bytes of a config: the same for the same input, for no time of day goes into it. */
export function encodeConfig({ architecture, os, container = {}, diffIds }: ImageConfig): Document {
  return document(MEDIA_TYPE.config, {
    architecture,
    os,
    config: {
      User: container.user,
      Env: container.env,
      Entrypoint: container.entrypoint,
      Cmd: container.cmd,
      WorkingDir: container.workingDir,
      Labels: container.labels && sorted(container.labels),
    },
    rootfs: { type: "layers", diff_ids: diffIds },
  });
}

/** The bytes of a manifest: the same for the same input, whatever the order of its annotations. */
export function encodeManifest(
  config: Descriptor,
  layers: readonly Descriptor[],
  annotations?: Readonly<Record<string, string>>,
): Document {
  return document(MEDIA_TYPE.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.manifest,
    config: plain(config),
    layers: layers.map(plain),
    annotations: annotations && sorted(annotations),
  });
}

export function descriptorOf(document: Document): Descriptor {
  return { mediaType: document.mediaType, digest: document.digest, size: document.bytes.length };
}

function document(mediaType: string, content: unknown): Document {
  const bytes = Buffer.from(JSON.stringify(content));
  return { mediaType, digest: digestOf(bytes), bytes };
}

function plain({ mediaType, digest, size, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, annotations: annotations && sorted(annotations) };
}

function sorted(record: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}
