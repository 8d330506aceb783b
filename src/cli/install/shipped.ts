import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Files of config/ by their paths in it, such as `operator/rbac.yaml`. */
export type Files = Readonly<Record<string, string>>;

/** Put here by the build; absent where the source runs as it is. */
declare const KCR_MANIFESTS: Files | undefined;

/** The manifests that this program ships. */
export const shippedFiles = (): Files =>
  typeof KCR_MANIFESTS === "undefined"
    ? readManifests(join(import.meta.dirname, "../../../config"))
    : KCR_MANIFESTS;

/** What is shipped of a checkout's config/. */
export const readManifests = (directory: string): Files =>
  Object.fromEntries(
    globSync("**/*.yaml", { cwd: directory })
      .sort()
      .map((path) => [path, readFileSync(join(directory, path), "utf8")]),
  );
