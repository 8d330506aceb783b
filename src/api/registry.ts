import { readFile } from "node:fs/promises";
import { CredentialsError, credentialsFor } from "../oci/credentials.ts";
import { RegistryError, type RegistryErrorCode } from "../oci/errors.ts";
import type { Limits } from "../oci/http.ts";
import { RegistryClient } from "../oci/registry.ts";
import { type ErrorCode, KcrError } from "./errors.ts";
import { registryOf, type Settings } from "./settings.ts";

/**
 * A client of the registry that checkpoints are pushed to, with CA and credentials as they are on disk now: a
 * Secret may change while a program runs.
 *
 * Errors: KcrError RegistryUntrusted or RegistryUnauthorized where a file that the settings name is of no use,
 * NoRegistry where they name no registry.
 */
export async function openRegistry(
  settings: Settings,
  userAgent: string,
  limits?: Partial<Limits>,
): Promise<RegistryClient> {
  const { push, plainHttp, caFile, credentialsFile } = registryOf(settings);
  const ca = caFile && (await readOr("RegistryUntrusted", caFile));
  const dockerConfig = credentialsFile && (await readOr("RegistryUnauthorized", credentialsFile));
  return new RegistryClient({
    address: push,
    plainHttp,
    ca: ca || undefined,
    credentials: dockerConfig ? credentialsFor(dockerConfig, push) : undefined,
    userAgent,
    limits,
  });
}

async function readOr(code: ErrorCode, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new KcrError(code, `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

const CODES: Record<RegistryErrorCode, ErrorCode> = {
  unreachable: "RegistryUnreachable",
  unauthorized: "RegistryUnauthorized",
  forbidden: "RegistryUnauthorized",
  tls: "RegistryUntrusted",
  "not-found": "RegistryRefused",
  "digest-mismatch": "RegistryRefused",
  "too-large": "RegistryRefused",
  unsupported: "RegistryRefused",
  protocol: "RegistryRefused",
};

/** What a person is told of a call that failed; undefined for what is no fault of the registry or its settings. */
export function registryError(error: unknown): KcrError | undefined {
  if (error instanceof KcrError) return error;
  if (error instanceof CredentialsError) {
    return new KcrError("RegistryUnauthorized", error.message, { cause: error });
  }
  if (error instanceof RegistryError) return new KcrError(CODES[error.code], error.message, { cause: error });
  return undefined;
}
