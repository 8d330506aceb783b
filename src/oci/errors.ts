/**
 * - unreachable: no answer, or one that says "not now" (429, 5xx), after all tries; try again later
 * - unauthorized: credentials are missing or refused
 * - forbidden: the credentials are known but may not do this
 * - not-found: no such repository, manifest or blob
 * - digest-mismatch: bytes are not what their digest says, on the way there or back
 * - too-large: the registry's limit (413), or ours on what we read
 * - unsupported: the registry does not do this (deletion, most often)
 * - tls: the registry's certificate is not trusted, or it does not speak TLS
 * - protocol: an answer that breaks the protocol, or that we refuse to follow
 */
export type RegistryErrorCode =
  | "unreachable"
  | "unauthorized"
  | "forbidden"
  | "not-found"
  | "digest-mismatch"
  | "too-large"
  | "unsupported"
  | "tls"
  | "protocol";

export interface RegistryErrorDetails {
  /** The registry's "host[:port]". */
  registry: string;
  repository?: string;
  /** The HTTP status, when there was an answer. */
  status?: number;
  cause?: unknown;
}

/** Something went wrong with a registry. The message names the registry, the repository and what to do. */
export class RegistryError extends Error {
  readonly code: RegistryErrorCode;
  readonly registry: string;
  readonly repository: string | undefined;
  readonly status: number | undefined;

  constructor(code: RegistryErrorCode, what: string, details: RegistryErrorDetails) {
    const { registry, repository, status, cause } = details;
    super(`${registry}${repository ? `/${repository}` : ""}: ${what}`, { cause });
    this.name = "RegistryError";
    this.code = code;
    this.registry = registry;
    this.repository = repository;
    this.status = status;
  }
}

export function hasCode(error: unknown, ...codes: readonly RegistryErrorCode[]): error is RegistryError {
  return error instanceof RegistryError && codes.includes(error.code);
}

/** Node's names for a certificate that does not hold, or a peer that does not speak TLS. */
const TLS_CODES =
  /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_IN_CHAIN$|UNABLE_TO_|HOSTNAME_MISMATCH$|INVALID_CA$)/;

/** Names what a request without an answer failed of. */
export function connectionError(cause: unknown, details: RegistryErrorDetails): RegistryError {
  const reason = describe(cause);
  if (TLS_CODES.test(codeOf(cause))) {
    const advice = "give the CA that signed its certificate, or say that it speaks plain HTTP if it does";
    return new RegistryError("tls", `no trusted TLS connection (${reason}); ${advice}`, {
      ...details,
      cause,
    });
  }
  const advice = "check the address, and that the registry is running and reachable from here";
  return new RegistryError("unreachable", `cannot be reached (${reason}); ${advice}`, { ...details, cause });
}

function codeOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (typeof code === "string") return code;
  const cause = (error as Error | undefined)?.cause;
  return cause ? codeOf(cause) : "";
}

function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0]);
  if (!(error instanceof Error)) return String(error);
  return error.message || codeOf(error) || error.name;
}

/** The error codes of the distribution spec that say more than the HTTP status. */
const SPEC_CODES: Record<string, RegistryErrorCode> = {
  DIGEST_INVALID: "digest-mismatch",
  SIZE_INVALID: "digest-mismatch",
  UNSUPPORTED: "unsupported",
  DENIED: "forbidden",
  UNAUTHORIZED: "unauthorized",
};

const ADVICE: Record<RegistryErrorCode, string> = {
  unreachable: "try again later",
  unauthorized: "check the user name and password for this registry",
  forbidden: "these credentials lack the right; grant it in the registry",
  "not-found": "check the name",
  "digest-mismatch": "something between here and the registry changed the bytes",
  "too-large": "raise the limit of the registry or of the proxy before it",
  unsupported: "enable it in the registry",
  tls: "",
  protocol: "check that this is the address of an OCI registry",
};

/** Makes an error of an answer with a status that was not hoped for; `body` is the start of it. */
export function answerError(
  doing: string,
  status: number,
  body: string,
  details: RegistryErrorDetails,
  known?: RegistryErrorCode,
): RegistryError {
  const { specCode, text } = specError(body);
  const code = known ?? classify(status, specCode);
  const said = [status, specCode, text].filter(Boolean).join(" ");
  return new RegistryError(code, `${doing}: ${said}; ${ADVICE[code]}`, { ...details, status });
}

function classify(status: number, specCode: string | undefined): RegistryErrorCode {
  if (status === 405 || status === 501) return "unsupported";
  if (status === 429 || status >= 500) return "unreachable";
  if (status === 413) return "too-large";
  if (specCode !== undefined && SPEC_CODES[specCode] && status >= 400 && status !== 403)
    return SPEC_CODES[specCode];
  if (status === 401) return "unauthorized";
  if (status === 403) return "forbidden";
  if (status === 404) return "not-found";
  return "protocol";
}

/** The first entry of the spec's error body, cut to a length fit for a message; a hostile body gives nothing. */
function specError(body: string): { specCode?: string; text: string } {
  try {
    const first = JSON.parse(body)?.errors?.[0];
    const specCode = typeof first?.code === "string" ? clean(first.code, 40) : undefined;
    return { specCode, text: typeof first?.message === "string" ? clean(first.message, 200) : "" };
  } catch {
    return { text: clean(body, 200) };
  }
}

function clean(text: string, length: number): string {
  return text
    .replace(/[\x00-\x1f\x7f]+/g, " ")
    .trim()
    .slice(0, length);
}
