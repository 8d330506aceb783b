import {
  BUNDLE_KEY,
  TRANSFER_AUTHORITY,
  TRANSFER_CERTIFICATE_SECONDS,
  TRANSFER_SIGNER,
  TRANSFER_USAGES,
} from "../../api/agent-certificate.ts";
import type { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import type { Controller } from "../../kube/controller.ts";
import { issuedCertificate } from "../../kube/issued.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import type { ConfigMap } from "../../kube/resources.ts";
import { type Identity, nodeOf, ORGANIZATION } from "../../transfer/identity.ts";

export interface CertificateOptions {
  client: Client;
  node: string;
  /** kcr's own namespace. */
  namespace: string;
  /** The ConfigMap with the authorities. */
  bundles: Cache<ConfigMap>;
  log: Logger;
  metrics?: Metrics;
  now(): Date;
  /** What is shown from now on. */
  onIdentity(identity: Identity): void;
}

/** Keeps the certificate that this agent shows to others. */
export function certificateController({ node, namespace, ...options }: CertificateOptions): Controller {
  return issuedCertificate({
    ...options,
    name: "transfer-certificate",
    signerName: TRANSFER_SIGNER,
    subject: { commonName: node, organizations: [ORGANIZATION] },
    usages: TRANSFER_USAGES,
    expirationSeconds: TRANSFER_CERTIFICATE_SECONDS,
    generateName: "kcr-agent-",
    labels: { "app.kubernetes.io/part-of": "kcr" },
    bundle: { namespace, name: TRANSFER_AUTHORITY, key: BUNDLE_KEY },
    isOwn: (certificate) => nodeOf(certificate, options.now()) === node,
  });
}
