import { chmodSync, chownSync, lstatSync, lutimesSync, mkdirSync, renameSync, type Stats } from "node:fs";
import { join } from "node:path";
import { type HandlerNote, VOLUMES } from "../../store/copy.ts";
import { asPartError, PartError } from "./errors.ts";
import { Extraction, type Tools } from "./extract.ts";
import { emptyDirOf, isWritableVolume } from "./mounts.ts";
import type { RuntimeSpec } from "./spec.ts";
import { readTarStream } from "./tar-reader.ts";
import { fromRaw, partsOf, type RawPath, Tree, toRaw } from "./tree.ts";
import { unpacked } from "./unpacked.ts";

/**
 * Directories of the handler's in a volume. Each state is entered by one rename, so that whoever comes after a
 * handler that was killed knows what is where.
 *   .kcr-moving   what is in it and what is beside it are the volume's files
 *   .kcr-before   what is in it are the volume's files, what is beside it are the checkpoint's
 *   .kcr-gone     what is in it is to be removed
 */
const MOVING = ".kcr-moving";
const BEFORE = ".kcr-before";
const GONE = ".kcr-gone";
const OURS: ReadonlySet<RawPath | undefined> = new Set([MOVING, BEFORE, GONE]);

/** Volumes that have the checkpoint's files, and still those from before. Exactly one of the two is to be called. */
export interface PutBack {
  /** Names of the volumes. */
  volumes: string[];
  /** What could not be brought over, in words. */
  leftOut: string[];
  /** The restore has failed: the files from before are there again. Errors: `PartError`. */
  undo(): void;
  /** The restore has succeeded: the files from before are removed. Errors: `PartError`. */
  keep(): void;
}

/**
 * Gives each captured volume the files that it had at the checkpoint. The new container has to have an emptyDir at
 * the same place; both its files and the checkpoint's need room on the disk for a while. Other containers of the pod
 * may be at work in it: nothing they do, and no name in the tar, leads out of it.
 *
 * Errors: `PartError`, the signal's reason; the volumes are as they were then.
 */
export async function putBackVolumes(options: {
  copyDir: string;
  /** Of the copy; volumes that are not in it are left as they are. */
  note: Pick<HandlerNote, "captured">;
  /** Of the new container. */
  spec: RuntimeSpec;
  tools?: Tools;
  signal?: AbortSignal;
}): Promise<PutBack> {
  const { copyDir, note, spec, tools, signal } = options;
  const sources = volumesOf(note, spec);
  const volumes = new Map<RawPath, Volume>();
  const all = (act: (volume: Volume) => void): void => forEach(volumes.values(), act);
  try {
    for (const [name, source] of sources) volumes.set(toRaw(name), new Volume(source, tools));
    all((volume) => volume.setAside());
    if (volumes.size > 0) await extractAll(join(copyDir, VOLUMES), volumes, signal);
    all((volume) => volume.extraction.finish());
  } catch (error) {
    try {
      all((volume) => volume.undo());
    } finally {
      all((volume) => volume[Symbol.dispose]());
    }
    throw asPartError(error, "the volumes of the checkpoint cannot be put back", signal);
  }
  const end = (doing: string, act: (volume: Volume) => void) => (): void => {
    try {
      all(act);
    } catch (error) {
      throw asPartError(error, doing);
    } finally {
      all((volume) => volume[Symbol.dispose]());
    }
  };
  return {
    volumes: [...sources.keys()],
    leftOut: [...volumes.values()].flatMap(({ extraction }) => extraction.result.leftOut),
    undo: end("the volumes cannot be made what they were", (volume) => volume.undo()),
    keep: end("a volume's former files cannot be removed", (volume) => volume.keep()),
  };
}

/** Whether a path in a volume, by its parts, is the handler's own. */
export const isOurs = ([first]: readonly RawPath[]): boolean => OURS.has(first);

/** Does it for all, whichever of them fail. Errors: the first. */
function forEach<T>(items: Iterable<T>, act: (item: T) => void): void {
  const errors: unknown[] = [];
  for (const item of items) {
    try {
      act(item);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Directories of the volumes that `putBackVolumes` would touch. Errors: `PartError`, as it. */
export const sourcesOf = (note: Pick<HandlerNote, "captured">, spec: RuntimeSpec): string[] => [
  ...volumesOf(note, spec).values(),
];

/** After a restore that was killed: each volume has the files from before, if they are still there. */
export function takeBackVolumes(sources: readonly string[]): void {
  forEach(sources, (source) => {
    using volume = new Volume(source);
    volume.undo();
  });
}

/** After a restore that went well and was killed then: the files from before are removed. */
export function dropFormerFiles(sources: readonly string[]): void {
  forEach(sources, (source) => {
    using volume = new Volume(source);
    volume.keep();
  });
}

/** CRI-O's own annotation; with it pods' owners may have put containerd's there, which CRI-O passes on. */
const CRIO_TYPE = "io.kubernetes.cri-o.ContainerType";

/** UID of the pod that a container is of, as its runtime notes it. */
export const podUIDOf = ({ annotations }: Pick<RuntimeSpec, "annotations">): string | undefined =>
  CRIO_TYPE in annotations
    ? annotations["io.kubernetes.pod.uid"]
    : (annotations["io.kubernetes.cri.sandbox-uid"] ?? annotations["io.kubernetes.pod.uid"]);

/** Directory of each captured volume in the new container's pod, by the name that it has in the tar. */
function volumesOf({ captured }: Pick<HandlerNote, "captured">, spec: RuntimeSpec): Map<string, string> {
  const sources = new Map<string, string>();
  for (const { name, destination } of captured) {
    const mount = spec.mounts.findLast((one) => one.destination === destination);
    const volume = mount && isWritableVolume(mount) ? emptyDirOf(mount) : undefined;
    if (!mount || !volume || volume.podUID !== (podUIDOf(spec) ?? volume.podUID)) {
      throw new PartError("RestoreFailed", `the container has no emptyDir at ${destination} any more`);
    }
    const isOther = (sources.get(name) ?? mount.source) !== mount.source;
    const isTaken = [...sources].some(([other, source]) => source === mount.source && other !== name);
    if (isOther || isTaken) {
      throw new PartError("RestoreFailed", `the volume at ${destination} is mounted otherwise than it was`);
    }
    sources.set(name, mount.source);
  }
  return sources;
}

async function extractAll(
  path: string,
  volumes: ReadonlyMap<RawPath, Volume>,
  signal?: AbortSignal,
): Promise<void> {
  for await (const entry of readTarStream(unpacked(path, signal))) {
    signal?.throwIfAborted();
    const [first = "", ...parts] = partsOf(entry.name);
    const volume = volumes.get(first);
    const [linkFirst = "", ...linkParts] = entry.type === "hardlink" ? partsOf(entry.linkName) : [first];
    const isDevice = entry.type === "character" || entry.type === "block";
    // Volumes that are not put back, for the other containers that use them.
    if (!volume) continue;
    if (linkFirst !== first || isDevice || isOurs(parts) || isOurs(linkParts)) {
      const name = JSON.stringify(fromRaw(entry.name));
      throw new PartError("ArchiveInvalid", `${VOLUMES} has an entry ${name} that it cannot have`);
    }
    await volume.extraction.put(parts, entry, linkParts);
  }
}

/** One emptyDir, and what becomes of the files that it has. */
class Volume implements Disposable {
  readonly extraction: Extraction;
  readonly #tree: Tree;

  constructor(source: string, tools?: Tools) {
    this.#tree = new Tree(source);
    this.extraction = new Extraction(this.#tree, tools);
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]();
  }

  /** The directory that takes the files has the volume's own owner, mode and time, for `undo`. */
  setAside(): void {
    this.undo();
    for (const name of [MOVING, BEFORE, GONE]) this.#tree.remove([name]);
    const own = this.#stats();
    {
      using place = this.#tree.at([GONE]);
      mkdirSync(place.path, 0o700);
    }
    this.#setAttributes(own, [GONE]);
    this.#move([GONE], [MOVING]);
    for (const name of this.#tree.names()) if (name !== MOVING) this.#move([name], [MOVING, name]);
    this.#setAttributes(own, [MOVING]);
    this.#move([MOVING], [BEFORE]);
  }

  /** Does nothing where nothing is set aside; goes on where one was killed. */
  undo(): void {
    if (this.#isDirectory(BEFORE)) {
      for (const name of this.#tree.names()) if (name !== BEFORE) this.#tree.remove([name]);
      this.#move([BEFORE], [MOVING]);
    }
    if (!this.#isDirectory(MOVING)) return;
    const own = this.#stats([MOVING]);
    for (const name of this.#tree.names([MOVING])) {
      if (OURS.has(name)) continue;
      this.#tree.remove([name]);
      this.#move([MOVING, name], [name]);
    }
    this.#tree.remove([MOVING]);
    this.#setAttributes(own);
  }

  keep(): void {
    const own = this.#stats();
    if (this.#isDirectory(BEFORE)) {
      this.#tree.remove([GONE]);
      this.#move([BEFORE], [GONE]);
    }
    if (this.#tree.remove([GONE]) > 0) this.#setAttributes(own);
  }

  #isDirectory(name: RawPath): boolean {
    return this.#tree.stat([name])?.isDirectory() === true;
  }

  #stats(parts: readonly RawPath[] = []): Stats {
    using place = this.#tree.at([...parts, "."]);
    return lstatSync(place.path);
  }

  #setAttributes({ uid, gid, mode, mtimeMs }: Stats, parts: readonly RawPath[] = []): void {
    using place = this.#tree.at([...parts, "."]);
    chownSync(place.path, uid, gid);
    chmodSync(place.path, mode & 0o7777);
    lutimesSync(place.path, mtimeMs / 1000, mtimeMs / 1000);
  }

  #move(from: readonly RawPath[], to: readonly RawPath[]): void {
    using source = this.#tree.at(from);
    using target = this.#tree.at(to);
    renameSync(source.path, target.path);
  }
}
