import { X509Certificate } from "node:crypto";

/** What one side shows, and whom it trusts; all in PEM. */
export interface Identity {
  cert: string;
  key: string;
  /** Certificates of the authorities; those of before and after a change of them. */
  ca: string;
}

/** The organization in the certificate of every node's side. Its common name is the node's name. */
export const ORGANIZATION = "kcr.io:agents";

/** A node's name as the API server lets it be: an RFC 1123 subdomain. */
const NODE = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const isNodeName = (text: string): boolean => text.length <= 253 && NODE.test(text);

/**
 * The node that a certificate is for, whose signature was checked already; undefined for one that is of something
 * else, or of another time.
 */
export function nodeOf(certificate: X509Certificate, now: Date): string | undefined {
  const { subject, validFromDate, validToDate } = certificate;
  if (now < validFromDate || now > validToDate) return undefined;
  const [organization, name = "", ...more] = subject.split("\n");
  const node = name.replace(/^CN=/, "");
  if (organization !== `O=${ORGANIZATION}` || node === name || more.length > 0) return undefined;
  return isNodeName(node) ? node : undefined;
}

/** The organization in the certificate of the download part: it may ask, and nobody takes it for a node. */
export const DOWNLOAD_ORGANIZATION = "kcr.io:download";
export const DOWNLOAD_NAME = "kcr-download";

/** Who asks a node for a copy. */
export type Caller = { type: "node"; node: string } | { type: "download" };

/** Whose certificate it is, as {@link nodeOf}; undefined for one of nobody. */
export function callerOf(certificate: X509Certificate, now: Date): Caller | undefined {
  const node = nodeOf(certificate, now);
  if (node !== undefined) return { type: "node", node };
  return isDownloads(certificate, now) ? { type: "download" } : undefined;
}

/** Whether a certificate, whose signature was checked already, is the download part's. */
export const isDownloads = ({ subject, validFromDate, validToDate }: X509Certificate, now: Date): boolean =>
  now >= validFromDate && now <= validToDate && subject === `O=${DOWNLOAD_ORGANIZATION}\nCN=${DOWNLOAD_NAME}`;

/** TLS options that both sides share: nothing older than 1.3, and nobody without a certificate. */
export const TLS_OPTIONS = { minVersion: "TLSv1.3", requestCert: true, rejectUnauthorized: true } as const;

/** As `tls.connect` takes it: the error that the server is another node than `node`. */
export function checkNode(node: string): (host: string, certificate: { raw: Buffer }) => Error | undefined {
  return (host, { raw }) => {
    const found = nodeOf(new X509Certificate(raw), new Date());
    return found === node
      ? undefined
      : new Error(`${host} is ${found ?? "no agent"}, not the agent of ${node}`);
  };
}
