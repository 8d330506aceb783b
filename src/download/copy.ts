import type { Checkpoint } from "../api/checkpoint.ts";
import { contentDigest } from "../store/copy.ts";
import { isSha256 } from "../store/layout.ts";
import { Peer } from "../transfer/client.ts";
import { TransferError } from "../transfer/errors.ts";
import type { Identity } from "../transfer/identity.ts";
import type { Throttle } from "../transfer/throttle.ts";
import type { Archive } from "./archive.ts";
import { namespaceOf } from "./owner.ts";
import { cut, restOf, segmentsOf, sizeOf } from "./segments.ts";

/** Of one download; others of the same copy share them. */
const CONNECTIONS = 4;
/** Asked of a node at once: it sends so many files at a time, and others may be waiting. */
const PIECE_BYTES = 8 * 1024 * 1024;

export interface CopyOptions {
  identity(): Identity;
  throttle: Throttle;
  /** Where the node's agent answers; undefined where it has none that runs. */
  find(node: string, signal: AbortSignal): Promise<{ host: string; port: number } | undefined>;
}

/**
 * The node whose copy can be read: the Checkpoint's own. Another node's agent would not know whether the Checkpoint
 * says rightly what its archive is.
 */
export const nodeWithCopy = ({ spec, status }: Checkpoint): string | undefined =>
  status?.copies?.some(({ kind, node }) => kind === "Node" && node === spec.nodeName)
    ? spec.nodeName
    : undefined;

/**
 * The archive of a Checkpoint, made again of the copy that its node has.
 *
 * Guarantees: it is of a pod of the Checkpoint's namespace: whoever can write a status in one namespace must not reach
 * the copies of another.
 * Errors: TransferError: `missing` too for a copy that has not all of the archive, `refused` too for one of another
 * namespace; ArchiveError; the signal's reason.
 */
export async function openCopy(
  checkpoint: Checkpoint,
  node: string,
  { identity, throttle, find }: CopyOptions,
  signal: AbortSignal,
): Promise<Archive> {
  const copy = checkpoint.status?.digest?.replace(/^sha256:/, "");
  if (!isSha256(copy)) throw new TransferError("missing", "the Checkpoint does not say what its archive is");
  const address = await find(node, signal);
  if (address === undefined) throw new TransferError("unreachable", `node ${node} has no agent that runs`);
  using opened = new DisposableStack();
  const peer = opened.use(new Peer({ ...address, node, identity, throttle, connections: CONNECTIONS }));
  const index = await peer.index(copy, signal);
  if (contentDigest(index) !== checkpoint.status?.contentDigest) {
    throw new TransferError("damaged", `node ${node}: its copy ${copy} is not what the Checkpoint says`);
  }
  const name = `node ${node}: its copy ${copy}`;
  const namespace = await namespaceOf(name, index.files, (file) =>
    peer.read(copy, file, { from: 0, end: file.size }, signal),
  );
  if (namespace === undefined || namespace !== checkpoint.metadata.namespace) {
    throw new TransferError("refused", `${name} is of another namespace's pod`);
  }
  const rest = restOf(index);
  if (rest === undefined) {
    throw new TransferError("missing", `${name} is of an earlier version, and not all of the archive`);
  }
  const content = peer.read(copy, rest, { from: 0, end: rest.size }, signal);
  const segments = await segmentsOf(index, rest, content, signal);
  const open = opened.move();
  return {
    from: `node ${node}`,
    size: sizeOf(segments),
    async *read(wanted, limit) {
      for (const { file, range } of cut(segments, wanted)) {
        for (let { from } = range; from < range.end; from += PIECE_BYTES) {
          const end = Math.min(from + PIECE_BYTES, range.end);
          yield* peer.read(copy, file, { from, end }, limit);
        }
      }
    },
    async [Symbol.asyncDispose]() {
      open.dispose();
    },
  };
}
