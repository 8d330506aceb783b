import type { Layer } from "./layer.ts";
import { createLayout, type LayoutImage, putDocument, putFile, writeIndex } from "./layout.ts";
import {
  type ContainerConfig,
  descriptorOf,
  encodeConfig,
  encodeManifest,
  parseManifest,
} from "./manifest.ts";

export interface BuildOptions {
  /** The OCI layout directory that is made. */
  layout: string;
  /** Lowest first; their files stay where they are. */
  layers: readonly Layer[];
  /** Default: this machine's. */
  architecture?: string;
  config?: ContainerConfig;
  annotations?: Readonly<Record<string, string>>;
  /** Only noted in the layout; pushing names its own tag. */
  tag?: string;
}

/**
 * Makes an image of layers in an OCI layout directory. The same layers and options give the same digest.
 *
 * Errors: those of the file system.
 */
export async function buildImage(options: BuildOptions): Promise<LayoutImage> {
  const { layout, layers, architecture = goArchitecture(), config: container, annotations, tag } = options;
  await createLayout(layout);
  const config = encodeConfig({
    architecture,
    os: "linux",
    container,
    diffIds: layers.map((layer) => layer.diffId),
  });
  const manifest = encodeManifest(descriptorOf(config), layers, annotations);
  for (const layer of layers) await putFile(layout, layer.path, layer.digest);
  await putDocument(layout, config);
  await putDocument(layout, manifest);
  const descriptor = descriptorOf(manifest);
  await writeIndex(layout, descriptor, tag);
  return { directory: layout, descriptor, manifest: parseManifest(manifest.bytes) };
}

/** Go's name for a processor architecture, as images use it; default this machine's. */
export function goArchitecture(arch: string = process.arch): string {
  const names: Record<string, string> = { x64: "amd64", ia32: "386", ppc64: "ppc64le" };
  return names[arch] ?? arch;
}
