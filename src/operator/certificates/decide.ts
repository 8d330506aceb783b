import type { KeyObject } from "node:crypto";
import {
  AGENT_ACCOUNT,
  NODE_NAME_EXTRA,
  TRANSFER_CERTIFICATE_SECONDS,
  TRANSFER_SIGNER,
  TRANSFER_USAGES,
} from "../../api/agent-certificate.ts";
import { signerOf } from "../../kube/authority.ts";
import { certify, type KeyPair, parseRequest, validFor, validityOf } from "../../kube/certificates.ts";
import type { CertificateSigningRequest } from "../../kube/resources.ts";
import { isNodeName, ORGANIZATION } from "../../transfer/identity.ts";

export type RequestDecision =
  | { type: "nothing" }
  | { type: "approve" }
  | { type: "deny"; why: string }
  /** It is approved, and nobody could have it back. */
  | { type: "fail"; why: string }
  | { type: "sign"; node: string; publicKey: KeyObject };

/** What becomes of an agent's request for a certificate; `namespace` is kcr's own. */
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

/**
 * The node and its key; a sentence for a request that is not an agent's own. Who asks, and from which node, is what
 * the API server noted of the token that it was shown.
 */
function askedFor(
  { spec }: CertificateSigningRequest,
  namespace: string,
): { node: string; publicKey: KeyObject } | string {
  const agent = `system:serviceaccount:${namespace}:${AGENT_ACCOUNT}`;
  if (spec.username !== agent) return `asked for by ${spec.username}, not by ${agent}`;
  const [node, ...more] = spec.extra?.[NODE_NAME_EXTRA] ?? [];
  if (node === undefined || more.length > 0 || !isNodeName(node)) {
    return "asked for with a token that is bound to no node";
  }
  const usages = [...(spec.usages ?? [])].sort();
  if (usages.join() !== TRANSFER_USAGES.toSorted().join()) return `for the usages ${usages.join(", ")}`;
  try {
    const { subject, publicKey } = parseRequest(Buffer.from(spec.request, "base64").toString());
    const { commonName, organizations } = subject;
    if (commonName !== node) return `for ${commonName}, by the agent of node ${node}`;
    if (organizations.join("\n") !== ORGANIZATION) return `for the groups ${organizations.join(", ")}`;
    return { node, publicKey };
  } catch (error) {
    return (error as Error).message;
  }
}

/** The certificate, which ends no later than what it is signed with. Errors: there is no authority. */
export function certificateFor(
  { node, publicKey }: { node: string; publicKey: KeyObject },
  authorities: readonly KeyPair[],
  now: Date,
): string {
  const signer = signerOf(authorities, now);
  if (signer === undefined) throw new Error("there is no authority to sign with");
  const { notBefore, notAfter } = validFor(TRANSFER_CERTIFICATE_SECONDS / 86_400, now);
  const end = Math.min(notAfter.getTime(), validityOf(signer.cert).notAfter.getTime());
  const subject = { commonName: node, organizations: [ORGANIZATION] };
  return certify(signer, subject, publicKey, { notBefore, notAfter: new Date(end) });
}
