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

/** Where a volume's files are until a restore has succeeded: a directory of this name in the volume. */
const BEFORE = ".kcr-before";

/** Such a directory while it is being removed, which may be cut short. */
const GONE = ".kcr-gone";

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
  /** Of the copy. */
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
export const isOurs = ([first]: readonly RawPath[]): boolean => first === BEFORE || first === GONE;

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
    volume.takeBackIfLeft();
  });
}

/** After a restore that went well and was killed then: the files from before are removed. */
export function dropFormerFiles(sources: readonly string[]): void {
  forEach(sources, (source) => {
    using volume = new Volume(source);
    volume.keepIfLeft();
  });
}

/** UID of the pod that a container is of, as its runtime notes it. */
export const podUIDOf = ({ annotations }: Pick<RuntimeSpec, "annotations">): string | undefined =>
  annotations["io.kubernetes.cri.sandbox-uid"] ?? annotations["io.kubernetes.pod.uid"];

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
    if (!volume || linkFirst !== first || isDevice || isOurs(parts) || isOurs(linkParts)) {
      const name = JSON.stringify(fromRaw(entry.name));
      throw new PartError("ArchiveInvalid", `${VOLUMES} has an entry ${name} that it cannot have`);
    }
    await volume.extraction.put(parts, entry, linkParts);
  }
}

/** One emptyDir, with its former files set aside. */
class Volume implements Disposable {
  readonly extraction: Extraction;
  readonly #tree: Tree;
  readonly #before: Stats;
  #isSetAside = false;

  constructor(source: string, tools?: Tools) {
    this.#tree = new Tree(source);
    this.#before = lstatSync(`${this.#tree.root}/.`);
    this.extraction = new Extraction(this.#tree, tools);
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]();
  }

  setAside(): void {
    this.#tree.remove([GONE]);
    // Of a restore that was killed: what is in it is what the volume had.
    const left = this.#tree.stat([BEFORE]);
    if (left?.isDirectory()) this.#takeBack();
    else if (left) this.#tree.remove([BEFORE]);
    using place = this.#tree.at([BEFORE]);
    mkdirSync(place.path, 0o700);
    this.#isSetAside = true;
    for (const name of this.#tree.names()) if (name !== BEFORE) this.#move([name], [BEFORE, name]);
  }

  takeBackIfLeft(): void {
    if (this.#tree.stat([BEFORE])?.isDirectory()) this.#takeBack();
  }

  keepIfLeft(): void {
    if (this.#tree.stat([BEFORE])?.isDirectory()) this.keep();
  }

  undo(): void {
    if (!this.#isSetAside) return;
    this.#takeBack();
    const { uid, gid, mode, mtimeMs } = this.#before;
    const root = `${this.#tree.root}/.`;
    chownSync(root, uid, gid);
    chmodSync(root, mode & 0o7777);
    lutimesSync(root, mtimeMs / 1000, mtimeMs / 1000);
  }

  keep(): void {
    const { mtimeMs } = lstatSync(`${this.#tree.root}/.`);
    this.#move([BEFORE], [GONE]);
    this.#tree.remove([GONE]);
    lutimesSync(`${this.#tree.root}/.`, mtimeMs / 1000, mtimeMs / 1000);
  }

  #takeBack(): void {
    for (const name of this.#tree.names()) if (name !== BEFORE) this.#tree.remove([name]);
    for (const name of this.#tree.names([BEFORE])) this.#move([BEFORE, name], [name]);
    this.#tree.remove([BEFORE]);
  }

  #move(from: readonly RawPath[], to: readonly RawPath[]): void {
    using source = this.#tree.at(from);
    using target = this.#tree.at(to);
    renameSync(source.path, target.path);
  }
}
