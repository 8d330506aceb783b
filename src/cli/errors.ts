import { ERRORS, type ErrorCode, KcrError } from "../api/errors.ts";
import { ApiError, ConnectionError } from "../kube/errors.ts";
import { safe } from "./output/safe.ts";

/** A command that was given what it cannot mean; ends with EXIT.usage. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Any error as one with a code and a remedy. Errors of libraries are known by their names, so that a command that
 * does without a library need not load it for its errors.
 */
export function explain(error: unknown): KcrError {
  if (error instanceof KcrError) return error;
  if (error instanceof ApiError) return new KcrError(apiCode(error), messageOf(error), { cause: error });
  if (error instanceof ConnectionError)
    return new KcrError("ApiUnreachable", messageOf(error), { cause: error });
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  if (name === "ArchiveError")
    return new KcrError(code === "unsupported" ? "ArchiveUnsupported" : "ArchiveInvalid", messageOf(error), {
      cause: error,
    });
  if (name === "RegistryError") {
    return new KcrError(registryCodes[String(code)] ?? "RegistryRefused", messageOf(error), { cause: error });
  }
  if (name === "CredentialsError")
    return new KcrError("RegistryUnauthorized", messageOf(error), { cause: error });
  const file = fileCodes[String(code)];
  return new KcrError(file ?? "Internal", messageOf(error), { cause: error });
}

/**
 * What an object says went wrong: a reason that is a code of ours, and a message that may end with what to do. A
 * reason that this program does not know is of a newer kcr.
 */
export function told(reason: string | undefined, message: string): KcrError {
  const code = reason !== undefined && Object.hasOwn(ERRORS, reason) ? (reason as ErrorCode) : "Internal";
  const { remedy } = ERRORS[code];
  const text = message.trimEnd();
  return new KcrError(code, text.endsWith(remedy) ? text.slice(0, -remedy.length).trimEnd() : text);
}

/** Lines for stderr: what was wrong, what to do, the code to look up. */
export function errorLines(error: unknown): string[] {
  const { code, message } = explain(error);
  return [`error: ${safe(sentence(message))} (${code})`, `  ${ERRORS[code].remedy}`];
}

/** What the API server itself said: neither path nor status code, for nobody typed them. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof ApiError)
    return (
      error.message
        .replace(/^[A-Z]+ \/\S* ?: /, "")
        .replace(/ \(\d{3}\)$/, "")
        // So answers the web server, which knows no kinds.
        .replace(/^404 page not found$/, "the cluster does not serve kcr's kinds")
    );
  if (error instanceof ConnectionError)
    return `no answer from the API server: ${error.message.replace(/^[A-Z]+ \/\S*: /, "")}`;
  return error.message;
}

const sentence = (text: string): string => text.replace(/\.$/, "");

function apiCode(error: ApiError): ErrorCode {
  switch (error.status) {
    case 401:
      return "ApiUnauthorized";
    case 403:
      return "ApiForbidden";
    case 404:
      // A kind that is not served is answered without any name.
      return error.details?.name ? "ApiNotFound" : "NotInstalled";
    default:
      return "ApiRefused";
  }
}

const registryCodes: Record<string, ErrorCode> = {
  unreachable: "RegistryUnreachable",
  unauthorized: "RegistryUnauthorized",
  forbidden: "RegistryUnauthorized",
  tls: "RegistryUntrusted",
};

const fileCodes: Record<string, ErrorCode> = {
  ENOENT: "FileUnreadable",
  EACCES: "FileUnreadable",
  EPERM: "FileUnreadable",
  EISDIR: "FileUnreadable",
  ENOTDIR: "FileUnreadable",
  ENOSPC: "FileUnwritable",
  EROFS: "FileUnwritable",
  EEXIST: "FileUnwritable",
};
