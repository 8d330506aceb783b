import { join } from "node:path";
import { run as command } from "../../cluster/run.ts";
import type { TestRegistry } from "../../test/support/registry.ts";
import type { PushCost } from "./push-once.ts";

const REPOSITORY = "bench/checkpoint";

/** kcr's push alone, in a process of its own whose start does not count. */
export async function push({ address }: TestRegistry, archive: string, signal: AbortSignal): Promise<number> {
  const program = join(import.meta.dirname, "push-once.ts");
  const output = await command([process.execPath, program, address, REPOSITORY, archive], { signal });
  return (JSON.parse(output) as PushCost).milliseconds;
}

export async function hash(
  archive: string,
  signal: AbortSignal,
): Promise<{ digest: string; milliseconds: number }> {
  const start = performance.now();
  const output = await command(["sha256sum", archive], { signal });
  return { digest: `sha256:${output.split(/\s/)[0]}`, milliseconds: performance.now() - start };
}

/** POST and one PUT with all the bytes: the least that a registry takes. */
export async function upload(
  registry: TestRegistry,
  archive: string,
  digest: string,
  signal: AbortSignal,
): Promise<number> {
  const start = performance.now();
  const opened = await fetch(`http://${registry.address}/v2/${REPOSITORY}/blobs/uploads/`, {
    method: "POST",
    signal,
  });
  const closing = new URL(opened.headers.get("location")!);
  closing.searchParams.append("digest", digest);
  const type = "content-type: application/octet-stream";
  await command(["curl", "-sSf", "-o", "/dev/null", "-H", type, "-T", archive, closing.href], { signal });
  return performance.now() - start;
}

/** The way of the earlier operator: from scratch, add, commit, push. In milliseconds. */
export async function buildah(
  { address }: TestRegistry,
  archive: string,
  signal: AbortSignal,
): Promise<{ build: number; push: number }> {
  const start = performance.now();
  const container = (await command(["buildah", "from", "scratch"], { signal })).trim();
  const image = `${address}/${REPOSITORY}:buildah`;
  try {
    await command(["buildah", "add", container, archive, "/"], { signal });
    const annotation = "--annotation=org.criu.checkpoint.container.name=bench";
    await command(["buildah", "config", annotation, container], { signal });
    await command(["buildah", "commit", container, image], { signal });
    const built = performance.now();
    await command(["buildah", "push", "--tls-verify=false", image], { signal });
    return { build: built - start, push: performance.now() - built };
  } finally {
    await command(["buildah", "rm", container]);
    await command(["buildah", "rmi", "--force", image]).catch(() => {});
  }
}
