import { createHash } from "node:crypto";
import { copyFile, cp, mkdir, readdir, rename, rm, symlink } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { compileStatic } from "../scripts/compile.ts";
import { addBusybox, addLibrariesOf, addProgram } from "./image-root.ts";
import type { ImageOptions, Recipe } from "./images.ts";
import { withLock } from "./lock.ts";
import { pathExists } from "./netns.ts";
import { cacheDir, clusterSource } from "./paths.ts";
import { silent } from "./progress.ts";
import { ensureRootfs } from "./rootfs.ts";
import { run } from "./run.ts";

/**
 * Images of programs for tests: ordinary ones, that keep all they know in their memory. Nothing here is made unless a
 * test asks for it.
 *
 * `java`, `python` and `node` are servers of one protocol, HTTP on port 8080: `PUT /key` keeps the body, `GET /key`
 * gives it (404: it has none), `GET /` says how many there are.
 */

const path = "PATH=/usr/bin:/bin";
const source = (file: string) => join(clusterSource, "programs", file);
const packages = ["openjdk-21-jre-headless", "memcached", "python3-minimal", "libpython3-stdlib"];

/**
 * The nodes' Debian tree with the programs in it, made once. Its packages are only unpacked, not set up: files of
 * programs are all that is taken from it.
 */
async function ensurePrograms({ progress = silent, signal }: ImageOptions): Promise<string> {
  const base = await ensureRootfs({ progress, signal });
  const key = createHash("sha256")
    .update(JSON.stringify([basename(base), packages]))
    .digest("hex");
  const tree = cacheDir("rootfs", `programs-${key.slice(0, 16)}`);
  if (await pathExists(tree)) return tree;
  await progress.task("fetching the programs of test images", (detail) =>
    withLock(
      cacheDir("rootfs", "programs.lock"),
      async () => {
        if (await pathExists(tree)) return;
        const aside = `${tree}.building`;
        await rm(aside, { recursive: true, force: true });
        // A mirror's Release file may be past its time.
        const script = `cp -a "$1" "$2" && cp -L /etc/resolv.conf "$2/etc/" && cd "$2" && shift 2
          apt() { chroot . apt-get --quiet --option Acquire::Check-Valid-Until=false "$@"; }
          apt update && apt install --yes --no-install-recommends --download-only "$@"
          for deb in var/cache/apt/archives/*.deb; do chroot . dpkg-deb --extract "$deb" /; done
          rm -r var/cache/apt var/lib/apt/lists`;
        await run(["sh", "-euc", script, "sh", base, aside, ...packages], { signal, onLine: detail });
        await rename(aside, tree);
      },
      { signal, waiting: () => detail("waiting for another process that fetches them") },
    ),
  );
  return tree;
}

export const programs = {
  java: {
    tag: "1",
    config: { entrypoint: ["java", "-XX:+UseSerialGC", "-Xmx128m", "-cp", "/opt", "KeyValue"], env: [path] },
    tree: ensurePrograms,
    sources: [import.meta.filename, source("KeyValue.java")],
    async build(root, tree) {
      const home = await only(tree, "/usr/lib/jvm", /^java-21-openjdk-/);
      // Archives of classes only save time when it starts.
      await addDirectory(root, tree, home, /\/(legal|man|docs)$|\.jsa$/);
      await addDirectory(root, tree, "/etc/java-21-openjdk");
      await addLibrariesOf(root, tree, `${home}/bin/java`, `${home}/lib/server/libjvm.so`);
      await symlink(`${home}/bin/java`, join(root, "usr/bin/java"));
      await mkdir(join(root, "opt"));
      await copyFile(source("KeyValue.java"), join(root, "opt/KeyValue.java"));
      // Java finds itself by /proc; in a mount namespace of its own, so that nothing of this is left behind.
      const script = `mount -t proc proc "$1/proc" && exec chroot "$@"`;
      const compile = ["/usr/bin/java", "-m", "jdk.compiler/com.sun.tools.javac.Main", "/opt/KeyValue.java"];
      await run(["unshare", "--mount", "sh", "-c", script, "sh", root, ...compile]);
    },
  },
  python: {
    tag: "2",
    config: { entrypoint: ["python3", "/opt/key_value.py"], env: [path] },
    tree: ensurePrograms,
    sources: [import.meta.filename, source("key_value.py")],
    async build(root, tree) {
      const library = await only(tree, "/usr/lib", /^python3\.\d+$/);
      await addDirectory(root, tree, library);
      await addProgram(root, tree, join(tree, "usr/bin", basename(library)), "/usr/bin/python3");
      for (const module of [/^_sqlite3\./, /^_ctypes\./]) {
        await addLibrariesOf(root, tree, await only(tree, `${library}/lib-dynload`, module));
      }
      await mkdir(join(root, "opt"));
      await copyFile(source("key_value.py"), join(root, "opt/key_value.py"));
    },
  },
  node: {
    tag: "1",
    config: { entrypoint: ["node", "/opt/key-value.mjs"], env: [path] },
    sources: [import.meta.filename, source("key-value.mjs")],
    async build(root, tree) {
      const node = resolve(clusterSource, "../node_modules/node/bin/node");
      await addProgram(root, tree, node, "/usr/bin/node");
      await mkdir(join(root, "opt"));
      await copyFile(source("key-value.mjs"), join(root, "opt/key-value.mjs"));
    },
  },
  /** See programs/torn.c; with a shell, to look at it. */
  torn: {
    tag: "1",
    config: { entrypoint: ["/bin/torn"], env: [path] },
    sources: [import.meta.filename, source("torn.c")],
    async build(root, tree) {
      await addBusybox(root, tree);
      await compileStatic(source("torn.c"), join(root, "bin/torn"));
    },
  },
  memcached: {
    tag: "1",
    config: { entrypoint: ["memcached", "--user=root", "--threads=2"], env: [path] },
    tree: ensurePrograms,
    sources: [import.meta.filename],
    async build(root, tree) {
      await addProgram(root, tree, join(tree, "usr/bin/memcached"), "/usr/bin/memcached");
    },
  },
} satisfies Record<string, Recipe>;

/** Copies a directory of a Debian tree, less what is left out by its path. */
async function addDirectory(root: string, tree: string, path: string, leftOut?: RegExp): Promise<void> {
  const filter = (from: string) => leftOut?.test(from) !== true;
  await cp(join(tree, path), join(root, path), { recursive: true, verbatimSymlinks: true, filter });
}

/** Path in a Debian tree of the one entry of a directory with such a name. */
async function only(tree: string, directory: string, name: RegExp): Promise<string> {
  const found = (await readdir(join(tree, directory))).find((entry) => name.test(entry));
  if (found === undefined) throw new Error(`nothing in ${join(tree, directory)} is named ${name}`);
  return join(directory, found);
}
