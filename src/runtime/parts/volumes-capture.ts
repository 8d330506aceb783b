import { constants, lstatSync, readlinkSync, rmSync, type Stats, statfsSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type HandlerNote, VOLUMES } from "../../store/copy.ts";
import { errnoOf } from "./errors.ts";
import { emptyDirOf, isWritableVolume } from "./mounts.ts";
import type { RuntimeSpec, SpecMount } from "./spec.ts";
import { TarWriter } from "./tar-writer.ts";
import { type RawPath, Tree, toRaw } from "./tree.ts";
import { isOurs, podUIDOf } from "./volumes.ts";

/** What became of the volumes that a container can write to. */
export type CapturedVolumes = Pick<HandlerNote, "captured" | "left">;

/**
 * Saves the files of a container's emptyDirs beside CRIU's images, into `kcr-volumes.tar` (entries `<volume>/...`),
 * while the container is paused. Other containers of the pod may be at work in them: nothing they do leads out of
 * the volume. Sockets are left out, and extended attributes; what else cannot be saved whole is `left`, as are
 * volumes of other kinds.
 *
 * Errors: the signal's reason. Anything else that goes wrong makes all volumes `left`, and leaves no tar.
 */
export async function captureVolumes(options: {
  spec: RuntimeSpec;
  /** Directory of CRIU's images. */
  imagePath: string;
  /** An emptyDir whose files are larger together is left. */
  maxBytes: number;
  signal?: AbortSignal;
}): Promise<CapturedVolumes> {
  const { spec, imagePath, maxBytes, signal } = options;
  const found: CapturedVolumes = { captured: [], left: [] };
  const sources = new Map<string, string>();
  for (const mount of spec.mounts.filter(isWritableVolume)) {
    const { destination, source } = mount;
    const name = emptyDirOf(mount)?.name;
    const why = await whyLeft(mount, spec, maxBytes, signal);
    if (name === undefined || why !== undefined) found.left.push({ destination, why: why ?? "" });
    else {
      found.captured.push({ name, destination });
      sources.set(name, source);
    }
  }
  if (sources.size === 0) return found;
  const path = join(imagePath, basename(VOLUMES));
  try {
    await writeVolumes(path, sources, signal);
    return found;
  } catch (error) {
    rmSync(path, { force: true });
    signal?.throwIfAborted();
    const why = `its files could not be saved: ${error instanceof Error ? error.message : String(error)}`;
    const all = found.captured.map(({ destination }) => ({ destination, why }));
    return { captured: [], left: [...found.left, ...all] };
  }
}

/** Of statfs(2): its files cannot be written with write(2). */
const HUGETLBFS_MAGIC = 0x958458f6;

async function whyLeft(
  mount: SpecMount,
  spec: RuntimeSpec,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const volume = emptyDirOf(mount);
  if (!volume) return kindOf(mount);
  if (volume.podUID !== (podUIDOf(spec) ?? volume.podUID)) return "an emptyDir of another pod";
  try {
    if (statfsSync(mount.source).type === HUGETLBFS_MAGIC) return "an emptyDir of huge pages";
    using tree = new Tree(mount.source);
    let bytes = 0;
    for await (const { stats } of walk(tree, signal)) {
      if (stats.isCharacterDevice() || stats.isBlockDevice()) return "it has a device in it";
      bytes += stats.isFile() ? stats.size : 0;
      if (bytes > maxBytes) return `it has more than ${maxBytes} bytes`;
    }
    return undefined;
  } catch (error) {
    signal?.throwIfAborted();
    return `it cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function kindOf({ destination, source }: SpecMount): string {
  if (destination === "/dev/shm") return "shared memory of the pod";
  return source.includes("/volume-subpaths/") ? "a subPath of a volume" : "not an emptyDir";
}

async function writeVolumes(
  path: string,
  sources: ReadonlyMap<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  const tar = new TarWriter(file);
  for (const [name, source] of sources) {
    using tree = new Tree(source);
    await tar.add({ name: `${name}/`, type: "directory", ...attributes(lstatSync(`${tree.root}/.`)) });
    await writeVolume(tar, toRaw(name), tree, signal);
  }
  await tar.finish();
}

async function writeVolume(tar: TarWriter, volume: RawPath, tree: Tree, signal?: AbortSignal): Promise<void> {
  const links = new Map<string, RawPath>();
  for await (const { parts, stats } of walk(tree, signal)) {
    const name = [volume, ...parts].join("/");
    const header = { name, ...attributes(stats) };
    const inode = `${stats.dev}:${stats.ino}`;
    const linkName = links.get(inode);
    if (stats.isDirectory()) await tar.add({ ...header, name: `${name}/`, type: "directory" });
    else if (linkName !== undefined) await tar.add({ ...header, type: "hardlink", linkName });
    else {
      const isWritten = await ifStillThere(async () => {
        using place = tree.at(parts);
        if (stats.isSymbolicLink()) {
          await tar.add({ ...header, type: "symlink", linkName: readlinkSync(place.path, "latin1") });
        } else if (stats.isFIFO()) await tar.add({ ...header, type: "fifo" });
        else if (stats.isFile()) {
          const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
          await using file = await open(place.path, flags);
          const now = await file.stat();
          if (!now.isFile()) return;
          const content = exactly(now.size, (buffer, at) => file.read(buffer, 0, buffer.length, at), signal);
          await tar.add({ ...header, ...attributes(now), type: "file", size: now.size }, content);
        }
      });
      if (isWritten && stats.nlink > 1 && !stats.isSocket()) links.set(inode, name);
    }
  }
}

const attributes = ({ mode, uid, gid, mtimeMs }: Stats) => ({
  mode: mode & 0o7777,
  uid,
  gid,
  mtime: mtimeMs / 1000,
});

/** Everything in a tree but its own directory, directories before what is in them; not what vanishes meanwhile. */
async function* walk(
  tree: Tree,
  signal?: AbortSignal,
): AsyncGenerator<{ parts: RawPath[]; stats: Stats }, void, undefined> {
  const ahead: RawPath[][] = tree
    .names()
    .map((name) => [name])
    .filter((parts) => !isOurs(parts));
  for (let count = 1; ahead.length > 0; count += 1) {
    if (count % 256 === 0) await setImmediate();
    signal?.throwIfAborted();
    const parts = ahead.pop()!;
    const stats = tree.stat(parts);
    if (!stats) continue;
    yield { parts, stats };
    if (!stats.isDirectory()) continue;
    await ifStillThere(async () => {
      for (const name of tree.names(parts)) ahead.push([...parts, name]);
    });
  }
}

async function ifStillThere(act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw error;
  }
}

const CHUNK = 1024 * 1024;

/** That many bytes, whatever the file becomes while it is read: what is cut off is zeros. */
async function* exactly(
  size: number,
  read: (buffer: Buffer, at: number) => Promise<{ bytesRead: number }>,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const buffer = Buffer.alloc(Math.min(size, CHUNK));
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted();
    const wanted = buffer.subarray(0, Math.min(CHUNK, size - at));
    const { bytesRead } = await read(wanted, at);
    const chunk = bytesRead > 0 ? wanted.subarray(0, bytesRead) : wanted.fill(0);
    yield chunk;
    at += chunk.length;
  }
}
