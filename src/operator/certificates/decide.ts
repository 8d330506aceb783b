import type { KeyObject } from "node:crypto";
import {
  AGENT_ACCOUNT,
  DOWNLOAD_USAGES,
  NODE_NAME_EXTRA,
  TRANSFER_CERTIFICATE_SECONDS,
  TRANSFER_SIGNER,
  TRANSFER_USAGES,
} from "../../api/agent-certificate.ts";
import { DOWNLOAD_ACCOUNT, DOWNLOAD_NAMESPACE } from "../../api/download.ts";
import { signerOf } from "../../kube/authority.ts";
import {
  certify,
  type KeyPair,
  parseRequest,
  type Subject,
  validFor,
  validityOf,
} from "../../kube/certificates.ts";
import type { CertificateSigningRequest } from "../../kube/resources.ts";
import { DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION, isNodeName, ORGANIZATION } from "../../transfer/identity.ts";

export type RequestDecision =
  | { type: "nothing" }
  | { type: "approve" }
  | { type: "deny"; why: string }
  /** It is approved, and nobody could have it back. */
  | { type: "fail"; why: string }
  | ({ type: "sign" } & Certified);

/** Who a certificate is for. */
export interface Certified {
  subject: Omit<Subject, "names">;
  publicKey: KeyObject;
}

/** What becomes of an agent's request for a certificate, or the download part's; `namespace` is kcr's own. */
export function decideRequest(
  request: CertificateSigningRequest,
  { namespace }: { namespace: string },
): RequestDecision {
  const { spec, status } = request;
  const has = (type: string): boolean => status?.conditions?.some((c) => c.type === type) ?? false;
  const isOver = status?.certificate !== undefined || has("Denied") || has("Failed");
  if (spec.signerName !== TRANSFER_SIGNER || isOver) return { type: "nothing" };
  const asked = askedFor(request, namespace);
  if (typeof asked === "string") return { type: has("Approved") ? "fail" : "deny", why: asked };
  return has("Approved") ? { type: "sign", ...asked } : { type: "approve" };
}

/** Whom it is for; a sentence for a request that nobody may make. */
function askedFor({ spec }: CertificateSigningRequest, namespace: string): Certified | string {
  const own = ownOf(spec, namespace);
  if (typeof own === "string") return own;
  const { commonName, organization } = own;
  const usages = [...(spec.usages ?? [])].sort();
  if (usages.join() !== own.usages.toSorted().join()) return `for the usages ${usages.join(", ")}`;
  try {
    const { subject, publicKey } = parseRequest(Buffer.from(spec.request, "base64").toString());
    if (subject.commonName !== commonName) return `for ${subject.commonName}, by ${commonName}`;
    if (subject.organizations.join("\n") !== organization) {
      return `for the groups ${subject.organizations.join(", ")}`;
    }
    return { subject: { commonName, organizations: [organization] }, publicKey };
  } catch (error) {
    return (error as Error).message;
  }
}

/** What whoever asks may have. Who it is, and from which node, the API server noted of the token it was shown. */
function ownOf(
  { username, extra }: CertificateSigningRequest["spec"],
  namespace: string,
): { commonName: string; organization: string; usages: string[] } | string {
  switch (username) {
    case `system:serviceaccount:${namespace}:${AGENT_ACCOUNT}`: {
      const [node, ...more] = extra?.[NODE_NAME_EXTRA] ?? [];
      if (node === undefined || more.length > 0 || !isNodeName(node)) {
        return "asked for with a token that is bound to no node";
      }
      return { commonName: node, organization: ORGANIZATION, usages: TRANSFER_USAGES };
    }
    case `system:serviceaccount:${DOWNLOAD_NAMESPACE}:${DOWNLOAD_ACCOUNT}`:
      return { commonName: DOWNLOAD_NAME, organization: DOWNLOAD_ORGANIZATION, usages: DOWNLOAD_USAGES };
    default:
      return `asked for by ${username}, neither an agent nor the download part`;
  }
}

/** The certificate, which ends no later than what it is signed with. Errors: there is no authority. */
export function certificateFor(
  { subject, publicKey }: Certified,
  authorities: readonly KeyPair[],
  now: Date,
): string {
  const signer = signerOf(authorities, now);
  if (signer === undefined) throw new Error("there is no authority to sign with");
  const { notBefore, notAfter } = validFor(TRANSFER_CERTIFICATE_SECONDS / 86_400, now);
  const end = Math.min(notAfter.getTime(), validityOf(signer.cert).notAfter.getTime());
  return certify(signer, subject, publicKey, { notBefore, notAfter: new Date(end) });
}
