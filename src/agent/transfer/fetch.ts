import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { TransferError } from "../../transfer/errors.ts";

/** The other nodes that say they have a copy of the Checkpoint: its own first, then who verified it last. */
export function nodesWith({ spec, status }: Checkpoint, self: string): string[] {
  // Without it nobody could tell what they send from what it should be.
  if (status?.contentDigest === undefined) return [];
  const isOwn = ({ node }: { node?: string | undefined }) => Number(node === spec.nodeName);
  const seen = (time = "") => Date.parse(time) || 0;
  return (status.copies ?? [])
    .filter(({ kind, node }) => kind === "Node" && node !== undefined && node !== self)
    .sort((a, b) => isOwn(b) - isOwn(a) || seen(b.verifiedTime) - seen(a.verifiedTime))
    .flatMap(({ node }) => node ?? []);
}

/** What is wrong with a copy elsewhere, as people are told it; undefined where another try may work. */
export function peerError(error: unknown): KcrError | undefined {
  if (!(error instanceof TransferError)) return undefined;
  switch (error.code) {
    case "unreachable":
    case "busy":
      return undefined;
    case "damaged":
      return new KcrError("CopyCorrupt", error.message, { cause: error });
    case "version":
      return new KcrError("ProtocolUnknown", error.message, { cause: error });
    case "missing":
    case "refused":
    case "protocol":
      return new KcrError("CopyMissing", error.message, { cause: error });
    default:
      return error.code satisfies never;
  }
}
