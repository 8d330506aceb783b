import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  createAuthority,
  isIssuedBy,
  issue,
  type KeyPair,
  pemBlocks,
  validFor,
  validityOf,
} from "../../kube/certificates.ts";

/** The webhook's own small PKI, as its Secret holds it. */
export interface WebhookCertificates {
  /** Newest first. All of them are trusted, one of them signs. */
  authorities: KeyPair[];
  serving?: KeyPair;
}

const AUTHORITY_DAYS = 365;
const SERVING_DAYS = 90;
/**
 * How long an authority is trusted before it signs: until then every API server has heard of it. Counted from the
 * beginning of its validity, which lies an hour before it was made.
 */
const SETTLE_MS = 2 * 3_600_000;

/** When a certificate is made anew: two thirds of its life are over. */
function dueAt({ cert }: KeyPair): number {
  const { notBefore, notAfter } = validityOf(cert);
  return notBefore.getTime() + ((notAfter.getTime() - notBefore.getTime()) * 2) / 3;
}

/**
 * The certificates as they should be: the very same object when they are.
 *
 * Guarantees: what serves is signed by an authority that has been trusted for a while, or by the only one there is; an
 * authority is trusted until it expires. So whoever trusts the bundle of before or of now accepts what serves before
 * and after.
 */
export function renew(
  current: WebhookCertificates,
  names: readonly string[],
  now: Date,
): WebhookCertificates {
  const time = now.getTime();
  const live = current.authorities.filter(({ cert }) => validityOf(cert).notAfter.getTime() > time);
  const fresh = live[0] !== undefined && dueAt(live[0]) > time;
  const authorities = fresh ? live : [createAuthority("kcr webhook", validFor(AUTHORITY_DAYS, now)), ...live];

  const { serving } = current;
  const serves =
    serving !== undefined &&
    dueAt(serving) > time &&
    authorities.some(({ cert }) => isIssuedBy(serving.cert, cert)) &&
    names.every((name) => new X509Certificate(serving.cert).checkHost(name) !== undefined);
  if (serves && fresh && live.length === current.authorities.length) return current;
  return { authorities, serving: serves ? serving : issueServing(authorities, names, now) };
}

function issueServing(authorities: readonly KeyPair[], names: readonly string[], now: Date): KeyPair {
  const settled = ({ cert }: KeyPair) => validityOf(cert).notBefore.getTime() + SETTLE_MS <= now.getTime();
  const signer = authorities.find(settled) ?? authorities.at(-1)!;
  const { notBefore, notAfter } = validFor(SERVING_DAYS, now);
  const end = Math.min(notAfter.getTime(), validityOf(signer.cert).notAfter.getTime());
  return issue(signer, { commonName: "kcr webhook", names }, { notBefore, notAfter: new Date(end) });
}

/** What clients are to trust, in PEM. */
export const bundleOf = ({ authorities }: WebhookCertificates): string =>
  authorities.map(({ cert }) => cert).join("");

/** How a Secret's data (base64) holds them: `tls.crt` and `tls.key` serve; `ca.crt` and `ca.key` are in one order. */
export function toSecretData(certificates: WebhookCertificates): Record<string, string> {
  const { authorities, serving } = certificates;
  const fields = {
    "ca.crt": bundleOf(certificates),
    "ca.key": authorities.map(({ key }) => key).join(""),
    "tls.crt": serving?.cert ?? "",
    "tls.key": serving?.key ?? "",
  };
  return Object.fromEntries(
    Object.entries(fields).map(([name, pem]) => [name, Buffer.from(pem).toString("base64")]),
  );
}

/** The certificates of a Secret, as far as they can be read: what is damaged is as if it were not there. */
export function fromSecretData(data: Record<string, string> = {}): WebhookCertificates {
  const blocks = (name: string) => pemBlocks(Buffer.from(data[name] ?? "", "base64").toString());
  const keys = blocks("ca.key");
  const authorities = blocks("ca.crt").flatMap((cert, n) => pairOf(cert, keys[n]) ?? []);
  return { authorities, serving: pairOf(blocks("tls.crt")[0], blocks("tls.key")[0]) };
}

function pairOf(cert: string | undefined, key: string | undefined): KeyPair | undefined {
  if (cert === undefined || key === undefined) return undefined;
  try {
    return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key)) ? { cert, key } : undefined;
  } catch {
    return undefined;
  }
}
