import { createHash } from "node:crypto";
import { chmod, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { buildImage } from "../src/oci/image.ts";
import { type Layer, writeLayer } from "../src/oci/layer.ts";
import { type LayoutImage, readLayout } from "../src/oci/layout.ts";
import type { ContainerConfig } from "../src/oci/manifest.ts";
import { pushLayout } from "../src/oci/push.ts";
import { RegistryClient } from "../src/oci/registry.ts";
import { registryName } from "./config.ts";
import { addBusybox, addFile, addProgram, addSkeleton } from "./image-root.ts";
import { withLock } from "./lock.ts";
import { pathExists } from "./netns.ts";
import { cacheDir, clusterSource } from "./paths.ts";
import { programs } from "./programs.ts";
import { type Progress, silent } from "./progress.ts";
import { ensureRootfs } from "./rootfs.ts";
import { run } from "./run.ts";

/**
 * Container images for tests, demo and kcr itself, cut from the nodes' Debian tree: of each program the binary and
 * the libraries it is linked with, no more.
 */

export interface Recipe {
  /** The image's tag. Nodes keep what they have pulled: a changed recipe needs a new one. */
  tag: string;
  config: ContainerConfig;
  /** The Debian tree that it is cut from; default the nodes' own. */
  tree?(options: ImageOptions): Promise<string>;
  /** Files that it is made from, beside those that every image is. */
  sources?: readonly string[];
  /** Fills the image's root, in which there is only what every image has. */
  build(root: string, tree: string): Promise<void>;
}

const path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

const recipes = {
  pause: {
    tag: "1",
    config: { entrypoint: ["/bin/busybox", "sleep", "infinity"] },
    build: (root, rootfs) => addFile(root, rootfs, "/usr/bin/busybox", "/bin/busybox"),
  },
  busybox: {
    tag: "1",
    config: { cmd: ["sh"], env: [path] },
    build: addBusybox,
  },
  /** busybox for a pod that must not run as root and leaves it to the image to say as whom. */
  "busybox-nonroot": {
    tag: "1",
    config: { user: "65532:65532", cmd: ["sh"], env: [path] },
    build: addBusybox,
  },
  redis: {
    tag: "1",
    config: {
      entrypoint: ["redis-server"],
      // Nothing is ever written to disk: what is lost with the process is lost.
      cmd: ["--save", "", "--appendonly", "no", "--protected-mode", "no"],
      env: [path],
      workingDir: "/data",
    },
    async build(root, rootfs) {
      // The server is one program with redis-check-rdb; which one it is, it takes from its name.
      await addProgram(root, rootfs, join(rootfs, "usr/bin/redis-check-rdb"), "/usr/bin/redis-server");
      await addProgram(root, rootfs, join(rootfs, "usr/bin/redis-cli"), "/usr/bin/redis-cli");
      await addFile(root, rootfs, "/usr/bin/busybox", "/bin/sh");
      await mkdir(join(root, "data"));
      await chmod(join(root, "data"), 0o777);
    },
  },
  /** What kcr's own programs run on. */
  "kcr-base": {
    tag: "1",
    config: { user: "65532:65532", env: [path], workingDir: "/" },
    async build(root, rootfs) {
      const node = resolve(clusterSource, "../node_modules/node/bin/node");
      await addProgram(root, rootfs, node, "/usr/bin/node");
      await addFile(root, rootfs, "/etc/ssl/certs/ca-certificates.crt");
    },
  },
  ...programs,
} satisfies Record<string, Recipe>;

export type ImageName = keyof typeof recipes;
export const imageNames = Object.keys(recipes) as ImageName[];
/** Those that are pushed when a cluster comes up. */
export const clusterImages: readonly ImageName[] = ["pause", "busybox", "redis"];

/** What a pod names to run one of the images on the local cluster. */
export function imageReference(name: ImageName): string {
  return `${registryName}/${repositoryOf(name)}:${recipes[name].tag}`;
}

const repositoryOf = (name: ImageName) => `kcr-test/${name}`;

export interface ImageOptions {
  progress?: Progress;
  signal?: AbortSignal;
}

/**
 * Builds an image into the cache, or takes it from there.
 *
 * Errors: those of the commands and the file system.
 */
export async function ensureImage(name: ImageName, options: ImageOptions = {}): Promise<LayoutImage> {
  const { config, tag }: Recipe = recipes[name];
  const { layer, dir } = await ensureLayer(name, options);
  const layout = join(dir, "layout");
  return buildImage({ layout, layers: [layer], config, tag });
}

/** The one layer of an image; it and what it was made from are all there is to an image's identity. */
async function ensureLayer(name: ImageName, options: ImageOptions): Promise<{ layer: Layer; dir: string }> {
  const { progress = silent, signal } = options;
  const { build, tree = ensureRootfs, sources = [] }: Recipe = recipes[name];
  const rootfs = await tree({ progress, signal });
  const key = createHash("sha256").update(JSON.stringify([name, basename(rootfs), process.version]));
  const code = ["images.ts", "image-root.ts"].map((file) => join(clusterSource, file));
  for (const file of [...code, ...sources]) key.update(await readFile(file));
  const dir = cacheDir("images", `${name}-${key.digest("hex").slice(0, 16)}`);
  const index = join(dir, "layer.json");
  await progress.task(`building image ${name}`, (detail) =>
    withLock(
      cacheDir("images", `${name}.lock`),
      async () => {
        if (await pathExists(index)) return;
        const work = await mkdtemp(`${dir}.building-`);
        try {
          const root = join(work, "root");
          await mkdir(root);
          await addSkeleton(root);
          await build(root, rootfs);
          detail("packing");
          const layer = await writeLayer(root, join(work, "layer.tar"), { compression: "none", signal });
          await rm(root, { recursive: true });
          await writeFile(join(work, "layer.json"), JSON.stringify(layer));
          await rm(dir, { recursive: true, force: true });
          await rename(work, dir);
        } finally {
          await rm(work, { recursive: true, force: true });
        }
      },
      { signal, waiting: () => detail("waiting for another process that builds it") },
    ),
  );
  const layer = JSON.parse(await readFile(index, "utf8")) as Layer;
  return { layer: { ...layer, path: join(dir, "layer.tar") }, dir };
}

/** Pushes an image to the registry of a cluster. Returns what a pod names to run it. */
export async function pushImage(
  name: ImageName,
  registry: string,
  options: ImageOptions = {},
): Promise<string> {
  const image = await ensureImage(name, options);
  await push(image, registry, repositoryOf(name), recipes[name].tag, options);
  return imageReference(name);
}

/** Pushes any image in an OCI layout directory. Returns what a pod names to run it. */
export async function pushLayoutDirectory(
  directory: string,
  registry: string,
  repository: string,
  tag: string,
  options: ImageOptions = {},
): Promise<string> {
  await push(await readLayout(directory), registry, repository, tag, options);
  return `${registryName}/${repository}:${tag}`;
}

export interface KcrImage {
  /** `registry.kcr.local:5000/kcr/kcr:<tag>`. */
  reference: string;
  /** The same by digest. */
  pinned: string;
}

/**
 * Builds kcr's own image: the base with the Node binary, and `dist` (what scripts/build.ts makes) as one more layer at
 * /opt/kcr. Its entry point is node: a pod gives `args: ["/opt/kcr/agent.mjs"]`. It is of this machine's
 * architecture. The layout is there for as long as `use` runs.
 */
export async function withKcrImage<T>(
  dist: string,
  options: ImageOptions,
  use: (image: LayoutImage) => Promise<T>,
): Promise<T> {
  const { progress = silent, signal } = options;
  const { layer: base } = await ensureLayer("kcr-base", options);
  await mkdir(cacheDir("images"), { recursive: true });
  const work = await mkdtemp(cacheDir("images", "kcr.building-"));
  try {
    const image = await progress.task("building image kcr", async () => {
      const root = join(work, "root");
      await cp(dist, root, { recursive: true });
      await run(["chmod", "-R", "u=rwX,go=rX", root]);
      const bundle = await writeLayer(root, join(work, "layer.tar"), { prefix: "opt/kcr", signal });
      return await buildImage({
        layout: join(work, "layout"),
        layers: [base, bundle],
        config: { ...recipes["kcr-base"].config, entrypoint: ["/usr/bin/node"] },
      });
    });
    return await use(image);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Builds kcr's own image and pushes it to a cluster's registry. The tag is a hash of the content.
 *
 * @param registry address to push to, `host:port`, plain HTTP.
 */
export function buildKcrImage(dist: string, registry: string, options: ImageOptions = {}): Promise<KcrImage> {
  return withKcrImage(dist, options, async (image) => {
    const { digest } = image.descriptor;
    const tag = digest.slice("sha256:".length, "sha256:".length + 16);
    await push(image, registry, "kcr/kcr", tag, options);
    return { reference: `${registryName}/kcr/kcr:${tag}`, pinned: `${registryName}/kcr/kcr@${digest}` };
  });
}

async function push(
  image: LayoutImage,
  registry: string,
  repository: string,
  tag: string,
  { progress = silent, signal }: ImageOptions,
): Promise<void> {
  const client = new RegistryClient({ address: registry, plainHttp: true, limits: { attempts: 3 } });
  try {
    await progress.task(`pushing ${repository}:${tag}`, () =>
      pushLayout(client, image, repository, tag, { signal }),
    );
  } finally {
    await client.close();
  }
}
