import { X509Certificate } from "node:crypto";
import {
  bundleOf as bundleOfAll,
  dueAt,
  fromData,
  pairOf,
  renewAuthorities,
  signerOf,
  toData,
  toPem,
} from "../../kube/authority.ts";
import { isIssuedBy, issue, type KeyPair, pemBlocks, validFor, validityOf } from "../../kube/certificates.ts";

/** The webhook's own small PKI, as its Secret holds it. */
export interface WebhookCertificates {
  /** Newest first. All of them are trusted, one of them signs. */
  authorities: readonly KeyPair[];
  serving?: KeyPair;
}

const SERVING_DAYS = 90;

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
  const authorities = renewAuthorities(current.authorities, "kcr webhook", now);
  const { serving } = current;
  const serves =
    serving !== undefined &&
    dueAt(serving) > now.getTime() &&
    authorities.some(({ cert }) => isIssuedBy(serving.cert, cert)) &&
    names.every((name) => new X509Certificate(serving.cert).checkHost(name) !== undefined);
  if (serves && authorities === current.authorities) return current;
  return { authorities, serving: serves ? serving : issueServing(authorities, names, now) };
}

function issueServing(authorities: readonly KeyPair[], names: readonly string[], now: Date): KeyPair {
  const signer = signerOf(authorities, now)!;
  const { notBefore, notAfter } = validFor(SERVING_DAYS, now);
  const end = Math.min(notAfter.getTime(), validityOf(signer.cert).notAfter.getTime());
  return issue(signer, { commonName: "kcr webhook", names }, { notBefore, notAfter: new Date(end) });
}

/** What clients are to trust, in PEM. */
export const bundleOf = ({ authorities }: WebhookCertificates): string => bundleOfAll(authorities);

/** How a Secret's data (base64) holds them: `tls.crt` and `tls.key` serve; `ca.crt` and `ca.key` are in one order. */
export const toSecretData = ({ authorities, serving }: WebhookCertificates): Record<string, string> =>
  toData({ ...toPem(authorities), "tls.crt": serving?.cert ?? "", "tls.key": serving?.key ?? "" });

/** The certificates of a Secret, as far as they can be read: what is damaged is as if it were not there. */
export function fromSecretData(data: Record<string, string> = {}): WebhookCertificates {
  const block = (name: string) => pemBlocks(Buffer.from(data[name] ?? "", "base64").toString())[0];
  return { authorities: fromData(data), serving: pairOf(block("tls.crt"), block("tls.key")) };
}
