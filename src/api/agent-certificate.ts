/**
 * What operator and agents have agreed on: an agent shows its certificate to other agents, and has it from the
 * operator by a CertificateSigningRequest of this signer, whose keys nobody else has.
 */
export const TRANSFER_SIGNER = "kcr.io/agent-transfer";
/** Names of the Secret with the authorities and of the ConfigMap with their certificates, in kcr's namespace. */
export const TRANSFER_AUTHORITY = "kcr-transfer-ca";
/** The ConfigMap's key. */
export const BUNDLE_KEY = "ca.crt";
export const TRANSFER_USAGES = ["digital signature", "server auth", "client auth"];
/** The download part asks agents, and nobody asks it. */
export const DOWNLOAD_USAGES = ["digital signature", "client auth"];
export const TRANSFER_CERTIFICATE_SECONDS = 24 * 3600;

/** Name of the agents' account, in kcr's namespace. */
export const AGENT_ACCOUNT = "kcr-agent";
/** Where the API server tells which node's pod a service account's token is bound to. */
export const NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name";
