import { isSha256 } from "../store/layout.ts";

/**
 * How one node hands another the files of a copy: HTTP/1.1 over TLS 1.3, where each side shows a certificate of the
 * same authority that names its node (identity.ts).
 *
 *   GET /v1/copies/<sha256 of the archive>            the copy's index (src/store/copy.ts)
 *   GET /v1/copies/<sha256 of the archive>/<sha256>   the file of that content; with `Range: bytes=N-` from there on,
 *                                                     with `Range: bytes=N-M` up to there
 *   POST /v1/copies/<sha256 of the archive>           says that what came of the copy is not what it should be: the
 *                                                     answering node looks at its copy itself, and believes only that
 *
 * The number in the path is the protocol's. A side that speaks a later one and is not understood asks by an earlier
 * one. An index bears a number of its own.
 *
 * Answers: 200, or 206 to a range; 202 to what was said; 400 for anything else that is asked; 403 where the asking node
 * has no reason to have the copy; 404 where there is no such copy or file, or it is known to be damaged; 503 with
 * Retry-After while as much is sent as may be, or while nobody can say who may have it; 501 to a later protocol.
 */
export interface Asked {
  copy: string;
  /** sha256 of one file; absent: the index. */
  file?: string;
}

const PATH = /^\/v1\/copies\/([0-9a-f]{64})(?:\/([0-9a-f]{64}))?$/;

export const TRANSFER_VERSION = 1;

/** Whether somebody asks by a protocol that came after this one. */
export function isLaterPath(path: string): boolean {
  const [, version] = /^\/v([1-9][0-9]{0,5})\//.exec(path) ?? [];
  return Number(version) > TRANSFER_VERSION;
}

export const pathOf = ({ copy, file }: Asked): string =>
  file === undefined ? `/v1/copies/${copy}` : `/v1/copies/${copy}/${file}`;

export function parsePath(path: string): Asked | undefined {
  const [, copy, file] = PATH.exec(path) ?? [];
  if (!isSha256(copy)) return undefined;
  return file === undefined ? { copy } : { copy, file };
}

/** Bytes of a file: from `from` on, up to and without `end`. */
export interface Range {
  from: number;
  end: number;
}

/** The one range that a header asks of so many bytes; undefined for any other kind, and where there are none. */
export function parseRange(header: string, size: number): Range | undefined {
  const [, first, last = ""] = /^bytes=([0-9]{1,15})-([0-9]{1,15})?$/.exec(header) ?? [];
  if (first === undefined) return undefined;
  const from = Number(first);
  const end = last === "" ? size : Math.min(Number(last) + 1, size);
  return from <= end && (last === "" || from < end) ? { from, end } : undefined;
}

/** What `Range` and `Content-Range` say of it. */
export const rangeOf = ({ from, end }: Range): string => `bytes=${from}-${end - 1}`;
export const contentRangeOf = ({ from, end }: Range, size: number): string =>
  `bytes ${from}-${end - 1}/${size}`;

/** Largest index that is read, in bytes. */
export const INDEX_BYTES = 16 * 1024 * 1024;
/** How long a peer that can take no more is left alone, in seconds. */
export const RETRY_AFTER_SECONDS = 1;
