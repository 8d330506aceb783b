/** The `Status` object the API server answers with instead of a result. */
export interface Status {
  kind?: string;
  status?: string;
  code?: number;
  reason?: string;
  message?: string;
  details?: StatusDetails;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  retryAfterSeconds?: number;
  causes?: Array<{ reason?: string; message?: string; field?: string }>;
}

/** The API server (or something between) answered that it did not do what was asked. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status code; for an error inside a watch, the code of its Status. */
  readonly status: number;
  /** Machine-readable reason such as `NotFound`, `Conflict`, `AlreadyExists`; empty where there was none. */
  readonly reason: string;
  /** How long the server asks to stay away, in seconds. */
  readonly retryAfterSeconds: number | undefined;
  readonly details: StatusDetails | undefined;

  constructor(
    what: string,
    answer: {
      status: number;
      reason?: string;
      message?: string;
      retryAfterSeconds?: number;
      details?: StatusDetails;
    },
  ) {
    super(`${what}: ${answer.message || answer.reason || "no reason given"} (${answer.status})`);
    this.status = answer.status;
    this.reason = answer.reason ?? "";
    this.retryAfterSeconds = answer.retryAfterSeconds ?? answer.details?.retryAfterSeconds;
    this.details = answer.details;
  }

  /** The error that a `Status` object, wherever it was found, stands for. */
  static fromStatus(what: string, status: Status, fallbackCode = 500): ApiError {
    return new ApiError(what, {
      status: status.code || fallbackCode,
      reason: status.reason,
      message: status.message,
      details: status.details,
    });
  }
}

/** No whole answer came: refused, reset, timed out, TLS. What was asked may or may not have been done. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";

  constructor(what: string, cause: unknown) {
    super(`${what}: ${cause instanceof Error ? cause.message || cause.name : String(cause)}`, { cause });
  }
}

const has = (error: unknown, status: number, reason?: string): error is ApiError =>
  error instanceof ApiError && error.status === status && (reason === undefined || error.reason === reason);

/** The object (or the kind itself) does not exist. */
export const isNotFound = (error: unknown): error is ApiError => has(error, 404);
/** A create met an object of that name. */
export const isAlreadyExists = (error: unknown): error is ApiError => has(error, 409, "AlreadyExists");
/** Someone else changed the object, or owns the field: read again and decide again. */
export const isConflict = (error: unknown): error is ApiError =>
  error instanceof ApiError && error.status === 409 && error.reason !== "AlreadyExists";
/** The account may not do this. */
export const isForbidden = (error: unknown): error is ApiError => has(error, 403);
/**
 * Nothing can be made any more in a namespace that is being deleted.
 * Source: apiserver's admission plugin NamespaceLifecycle.
 */
export const isNamespaceTerminating = (error: unknown): error is ApiError =>
  isForbidden(error) &&
  (error.details?.causes?.some((cause) => cause.reason === "NamespaceTerminating") ?? false);
/** The resource version asked for has been compacted away: list again. */
export const isGone = (error: unknown): error is ApiError => has(error, 410);
/** The object breaks the schema or a rule of its kind: the same write will never succeed. */
export const isInvalid = (error: unknown): error is ApiError => has(error, 422);
/**
 * What the write was decided on is not so any more: a conflict, or a `test` of a JSON patch that did not hold. The
 * API server answers the latter with a bare 422 that, unlike that for an invalid object, names nothing.
 */
export const isStale = (error: unknown): error is ApiError =>
  isConflict(error) || (isInvalid(error) && !error.details?.name && !error.details?.causes?.length);

/**
 * The server does not know the resource version yet (it is behind, or its store was put back to an older state).
 * Source: apiserver's `NewTooLargeResourceVersionError`.
 */
export const isTooLargeResourceVersion = (error: unknown): error is ApiError =>
  error instanceof ApiError &&
  error.status === 504 &&
  (error.details?.causes?.some((cause) => cause.reason === "ResourceVersionTooLarge") ?? false);
