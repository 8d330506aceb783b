import { linkSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { CHECKPOINT_DIRECTORY } from "../../store/copy.ts";
import { asPartError, errnoOf, PartError } from "./errors.ts";
import { openRegular, readSmall } from "./open-file.ts";
import type { RuntimeSpec } from "./spec.ts";

/** CRIU's magic numbers of all images, and of this one (criu/include/magic.h), little-endian. */
const COMMON_MAGIC = 0x54564319;
const UTSNS_MAGIC = 0x54473203;
/** Number of that field (images/utsns.proto). */
const NODENAME = 1;

const IMAGE_LIMIT = 64 * 1024;
/** __NEW_UTS_LEN of Linux. */
const HOSTNAME_LIMIT = 64;

/** The runtime's own file of a sandbox's hostname, containerd's and CRI-O's. */
const OF_SANDBOX = /\/(?:sandboxes\/[^/]+|overlay-containers\/[^/]+\/userdata)\/hostname$/;

/**
 * The hostname that the new container is to have: what its pod's sandbox says. Only where that is not to be read it
 * is HOSTNAME of its environment, which image and pod may set to anything else. Undefined when neither is there.
 */
export async function hostnameOf({
  mounts,
  process: { env },
}: Pick<RuntimeSpec, "mounts" | "process">): Promise<string | undefined> {
  const { source = "" } = mounts.findLast(({ destination }) => destination === "/etc/hostname") ?? {};
  const text = OF_SANDBOX.test(source)
    ? await readSmall(source, HOSTNAME_LIMIT + 1).catch(() => undefined)
    : undefined;
  const last = env.findLast((entry) => entry.startsWith(VARIABLE))?.slice(VARIABLE.length);
  return text?.trim() || last || undefined;
}

const VARIABLE = "HOSTNAME=";

/**
 * The directory of CRIU's images to restore from, so that the restored container has that hostname: the copy's own
 * if the dump has it already (or has none), else `into`, made anew, with links to the copy's images and its own
 * image of the hostname. Where `into` is on another file system the links are symbolic.
 *
 * Errors: `PartError`; `corrupt` when the copy's image of the hostname is none.
 */
export async function imagesWithHostname(options: {
  copyDir: string;
  into: string;
  hostname: string;
}): Promise<string> {
  const { copyDir, into, hostname } = options;
  const images = resolve(copyDir, CHECKPOINT_DIRECTORY);
  try {
    const wanted = Buffer.from(hostname);
    if (wanted.length === 0 || wanted.length > HOSTNAME_LIMIT || wanted.includes(0)) {
      throw new PartError("RestoreFailed", "the pod's hostname is none that Linux takes");
    }
    const names = readdirSync(images);
    const rewritten = new Map<string, Buffer>();
    for (const name of names.filter((one) => /^utsns-[0-9]+\.img$/.test(one))) {
      const image = withNodename(await readImage(join(images, name)), wanted);
      if (image) rewritten.set(name, image);
    }
    if (rewritten.size === 0) return images;
    rmSync(into, { recursive: true, force: true });
    mkdirSync(into, { recursive: true, mode: 0o700 });
    for (const [name, own] of rewritten) writeFileSync(join(into, name), own, { flag: "wx", mode: 0o600 });
    linkAll(images, into, (name) => !rewritten.has(name));
    return into;
  } catch (error) {
    throw asPartError(error, "the hostname cannot be put into the checkpoint");
  }
}

async function readImage(path: string): Promise<Buffer> {
  const { file, size } = await openRegular(path);
  await using opened = file;
  if (size > IMAGE_LIMIT) throw notAnImage();
  return await opened.readFile();
}

/** Blobs of copies may have as many names as the file system allows. */
const NO_HARD_LINK: ReadonlySet<string | undefined> = new Set(["EXDEV", "EMLINK", "EPERM", "EOPNOTSUPP"]);

/** A directory is made anew: CRIU follows no link to it from within the container's mounts. */
function linkAll(from: string, into: string, isWanted: (name: string) => boolean = () => true): void {
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [target, path] = [join(from, entry.name), join(into, entry.name)];
    if (entry.isDirectory()) {
      mkdirSync(path, { mode: 0o700 });
      linkAll(target, path);
    } else if (isWanted(entry.name)) link(target, path);
  }
}

function link(target: string, path: string): void {
  try {
    linkSync(target, path);
  } catch (error) {
    if (!NO_HARD_LINK.has(errnoOf(error))) throw error;
    symlinkSync(target, path);
  }
}

/** The image with that nodename; undefined when it has it already. */
function withNodename(image: Buffer, wanted: Buffer): Buffer | undefined {
  const isImage =
    image.length >= 12 && image.readUInt32LE(0) === COMMON_MAGIC && image.readUInt32LE(4) === UTSNS_MAGIC;
  const end = isImage ? 12 + image.readUInt32LE(8) : 0;
  if (end < 12 || end > image.length) throw notAnImage();
  const message = rewrittenMessage(image.subarray(12, end), wanted);
  if (!message) return undefined;
  const length = Buffer.alloc(4);
  length.writeUInt32LE(message.length);
  return Buffer.concat([image.subarray(0, 8), length, message, image.subarray(end)]);
}

function rewrittenMessage(message: Uint8Array, wanted: Uint8Array): Uint8Array | undefined {
  const writer = new BinaryWriter();
  let before: Uint8Array | undefined;
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const at = reader.pos;
      const [field, type] = reader.tag();
      if (field === NODENAME && type === WireType.LengthDelimited) {
        before = reader.bytes();
        writer.tag(NODENAME, WireType.LengthDelimited).bytes(wanted);
      } else {
        reader.skip(type, field);
        writer.raw(message.subarray(at, reader.pos));
      }
    }
  } catch (cause) {
    throw notAnImage(cause);
  }
  if (!before) throw notAnImage();
  return Buffer.from(before).equals(wanted) ? undefined : writer.finish();
}

const notAnImage = (cause?: unknown): PartError =>
  new PartError("CopyCorrupt", "the copy's image of the hostname is none", { corrupt: true, cause });
