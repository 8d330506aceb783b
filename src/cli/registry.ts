import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { KcrError } from "../api/errors.ts";
import type { RegistryClient } from "../oci/registry.ts";
import type { Io } from "./io.ts";
import { VERSION } from "./version.ts";

/** Flags of every command that speaks to a registry. */
export interface RegistryFlags {
  plainHttp?: boolean;
  caFile?: string;
  authfile?: string;
}

/** Gives a command the flags of {@link RegistryFlags}. */
export const withRegistryFlags = (command: Command): Command =>
  command
    .option("--plain-http", "the registry speaks HTTP, not HTTPS")
    .option("--ca-file <file>", "certificate authority of the registry, besides the well-known ones (PEM)")
    .option("--authfile <file>", "credentials, as `docker login` or `podman login` have written them");

/** Of a command's flags, these alone. */
export const registryFlagsOf = ({ plainHttp, caFile, authfile }: RegistryFlags): RegistryFlags => ({
  plainHttp,
  caFile,
  authfile,
});

/**
 * A client of the registry at this address ("host[:port]"), with the person's own credentials for the repository.
 *
 * Errors: KcrError RegistryUntrusted or RegistryUnauthorized where a file of the flags is of no use;
 * `CredentialsError`.
 */
export async function openRegistry(
  io: Pick<Io, "env">,
  flags: RegistryFlags,
  address: string,
  repository: string,
): Promise<RegistryClient> {
  const [{ RegistryClient }, { credentialsFor }] = await Promise.all([
    import("../oci/registry.ts"),
    import("../oci/credentials.ts"),
  ]);
  const { caFile, authfile, plainHttp } = flags;
  const ca = caFile === undefined ? undefined : await needed("RegistryUntrusted", caFile);
  const logins = authfile === undefined ? await found(io) : await needed("RegistryUnauthorized", authfile);
  const credentials = logins === undefined ? undefined : credentialsFor(logins, address, repository);
  return new RegistryClient({ address, plainHttp, ca, credentials, userAgent: `kubectl-kcr/${VERSION}` });
}

async function needed(code: "RegistryUntrusted" | "RegistryUnauthorized", file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new KcrError(code, `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** The first file of those in which Podman and Docker look, that there is. */
async function found({ env }: Pick<Io, "env">): Promise<string | undefined> {
  const { REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, DOCKER_CONFIG } = env;
  if (REGISTRY_AUTH_FILE) return await needed("RegistryUnauthorized", REGISTRY_AUTH_FILE);
  const places = [
    XDG_RUNTIME_DIR && join(XDG_RUNTIME_DIR, "containers/auth.json"),
    join(DOCKER_CONFIG || join(env["HOME"] || homedir(), ".docker"), "config.json"),
  ];
  for (const place of places) {
    if (!place) continue;
    try {
      return await readFile(place, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return undefined;
}
