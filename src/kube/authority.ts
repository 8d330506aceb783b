import { createPrivateKey, X509Certificate } from "node:crypto";
import { createAuthority, type KeyPair, pemBlocks, validFor, validityOf } from "./certificates.ts";

/**
 * Certificate authorities of one's own, and how one takes the place of another while nobody is cut off: all are
 * trusted until they expire, newest first, and one signs.
 */

const AUTHORITY_DAYS = 365;
/**
 * How long an authority is trusted before it signs: until then everyone has heard of it. Counted from the beginning
 * of its validity, which lies an hour before it was made.
 */
const SETTLE_MS = 2 * 3_600_000;

/** When a certificate is made anew: two thirds of its life are over. In milliseconds since 1970. */
export function dueAt({ cert }: Pick<KeyPair, "cert">): number {
  const { notBefore, notAfter } = validityOf(cert);
  return notBefore.getTime() + ((notAfter.getTime() - notBefore.getTime()) * 2) / 3;
}

/** The authorities as they should be, at least one: the very same list when they are. */
export function renewAuthorities(current: readonly KeyPair[], name: string, now: Date): readonly KeyPair[] {
  const time = now.getTime();
  const live = current.filter(({ cert }) => validityOf(cert).notAfter.getTime() > time);
  const isFresh = live[0] !== undefined && dueAt(live[0]) > time;
  if (!isFresh) return [createAuthority(name, validFor(AUTHORITY_DAYS, now)), ...live];
  return live.length === current.length ? current : live;
}

/** The one that signs now: one that has been trusted for a while, or the only one there is. */
export function signerOf(authorities: readonly KeyPair[], now: Date): KeyPair | undefined {
  const isSettled = ({ cert }: KeyPair) => validityOf(cert).notBefore.getTime() + SETTLE_MS <= now.getTime();
  return authorities.find(isSettled) ?? authorities.at(-1);
}

/** What is to be trusted, in PEM. */
export const bundleOf = (authorities: readonly KeyPair[]): string =>
  authorities.map(({ cert }) => cert).join("");

/** The authorities in PEM as a Secret has them, certificates and keys in one order. */
export const toPem = (authorities: readonly KeyPair[]): Record<"ca.crt" | "ca.key", string> => ({
  "ca.crt": bundleOf(authorities),
  "ca.key": authorities.map(({ key }) => key).join(""),
});

/** The authorities in a Secret's data (base64), as far as they can be read. */
export function fromData(data: Readonly<Record<string, string>> = {}): KeyPair[] {
  const blocks = (name: string) => pemBlocks(Buffer.from(data[name] ?? "", "base64").toString());
  const keys = blocks("ca.key");
  return blocks("ca.crt").flatMap((cert, n) => pairOf(cert, keys[n]) ?? []);
}

/** A Secret's data of these texts. */
export const toData = (texts: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [name, Buffer.from(text).toString("base64")]),
  );

/** A certificate and its key, where these belong together. */
export function pairOf(cert: string | undefined, key: string | undefined): KeyPair | undefined {
  if (cert === undefined || key === undefined) return undefined;
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)) ? { cert, key } : undefined;
  } catch {
    return undefined;
  }
}
