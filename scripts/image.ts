import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { withKcrImage } from "../cluster/images.ts";
import { progressTo } from "../cluster/progress.ts";
import { type Credentials, credentialsFor } from "../src/oci/credentials.ts";
import { goArchitecture } from "../src/oci/image.ts";
import { pushLayout } from "../src/oci/push.ts";
import { formatReference, parseReference } from "../src/oci/reference.ts";
import { RegistryClient } from "../src/oci/registry.ts";
import { bundle } from "./build.ts";

/** The command `npm run image -- ...`: kcr's own image, for the registry of a cluster that one already has. */

interface Flags {
  plainHttp?: boolean;
  caFile?: string;
  credentialsFile?: string;
}

const progress = progressTo();
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interrupt.abort(new Error(`interrupted (${signal})`)));
}
const { signal } = interrupt;

const program = new Command("image").description("kcr's own image");
program
  .command("push")
  .description("build kcr's image as it is checked out here and push it")
  .argument("<image>", "registry/repository:tag")
  .option("--plain-http", "speak HTTP to the registry, not HTTPS")
  .option("--ca-file <file>", "PEM file with the registry's CA")
  .option("--credentials-file <file>", "a dockerconfigjson (default: what docker login has written)")
  .action(push);

/** Errors: a reference without a tag; those of building and pushing. */
async function push(text: string, flags: Flags): Promise<void> {
  const { registry, repository, tag } = parseReference(text);
  if (tag === undefined) throw new Error(`${text} names no tag: registry/repository:tag`);
  if (process.getuid?.() !== 0) throw new Error("root is needed to build the image");
  const client = new RegistryClient({
    address: registry,
    plainHttp: flags.plainHttp,
    ca: flags.caFile && readFileSync(flags.caFile, "utf8"),
    credentials: credentialsOf(flags, registry, repository),
    userAgent: "kcr-image",
  });
  const work = await mkdtemp(join(tmpdir(), "kcr-image-"));
  try {
    // Who may not push is told so before anything is built.
    await client.ping({ signal });
    await bundle(join(work, "dist"), signal);
    const digest = await withKcrImage(join(work, "dist"), { progress, signal }, (image) =>
      progress.task(`pushing to ${registry}`, async () => {
        await pushLayout(client, image, repository, tag, { signal });
        return image.descriptor.digest;
      }),
    );
    console.log(`pushed ${formatReference({ registry, repository, digest })} (linux/${goArchitecture()})`);
    console.log("name it in config/kustomization.yaml:");
    console.log(`images:\n  - name: kcr\n    newName: ${registry}/${repository}\n    digest: ${digest}`);
  } finally {
    await client.close();
    await rm(work, { recursive: true, force: true });
  }
}

function credentialsOf(flags: Flags, registry: string, repository: string): Credentials | undefined {
  const ofDocker = join(process.env["DOCKER_CONFIG"] || join(homedir(), ".docker"), "config.json");
  const file = flags.credentialsFile ?? (existsSync(ofDocker) ? ofDocker : undefined);
  return file === undefined ? undefined : credentialsFor(readFileSync(file, "utf8"), registry, repository);
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`image: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
