import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { pack } from "tar-stream";
import { available, run as command } from "../cluster/run.ts";
import { startRegistry, type TestRegistry } from "../test/support/registry.ts";
import type { PushCost } from "./lib/push-once.ts";
import {
  atLeast,
  atMost,
  type BenchArgs,
  median,
  megabytes,
  type Report,
  seconds,
  thisMachine,
} from "./lib/report.ts";

const GiB = 2 ** 30;
const REPOSITORY = "bench/checkpoint";
const MEMORY_LIMIT_MB = 200;

/**
 * Archive -> image in a registry, on one machine: how long against hashing and uploading the same bytes with
 * `sha256sum` and `curl`, how long against buildah (where it is installed), and how much memory for 1 GiB and for
 * more than 8 GiB. All in turns, so that what else the machine does falls on all alike; the registry is emptied
 * and the disk's cache written back in between.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  const directory = await mkdtemp(join(tmpdir(), "kcr-bench-"));
  const registry = await startRegistry();
  try {
    const archive = join(directory, "archive.tar");
    await writeRandom(archive, GiB, signal);
    const withBuildah = await available("buildah");
    if (!withBuildah) note("buildah is not installed: the comparison with it is left out");

    const pushes: PushCost[] = [];
    const hashes: number[] = [];
    const uploads: number[] = [];
    const buildahs: number[] = [];
    for (let round = 1; round <= runs; round += 1) {
      note(`round ${round} of ${runs}`);
      await emptied(registry, signal);
      pushes.push(await push(registry, archive, signal));
      await emptied(registry, signal);
      const { digest, milliseconds } = await hash(archive, signal);
      hashes.push(milliseconds);
      uploads.push(await upload(registry, archive, digest, signal));
      if (!withBuildah) continue;
      await emptied(registry, signal);
      buildahs.push(await buildah(registry, archive, signal));
    }
    await rm(archive);
    await emptied(registry, signal);

    note("an archive of 9 GiB");
    const large = join(directory, "large.tar");
    await writeSparse(large, 9 * GiB);
    const largePush = await push(registry, large, signal);

    const pushMs = median(pushes.map((cost) => cost.milliseconds));
    const plainMs = median(hashes.map((milliseconds, round) => milliseconds + uploads[round]!));
    const peak = Math.max(...pushes.map((cost) => cost.peakBytes));
    return {
      bench: "push",
      machine: thisMachine(),
      runs,
      figures: {
        "push, 1 GiB": seconds(pushMs),
        "sha256, 1 GiB": seconds(median(hashes)),
        "plain upload, 1 GiB": seconds(median(uploads)),
        ...(withBuildah && { "buildah, 1 GiB": seconds(median(buildahs)) }),
        "push, 9 GiB sparse": seconds(largePush.milliseconds),
        "VmHWM, 1 GiB": megabytes(peak),
        "VmHWM, 9 GiB sparse": megabytes(largePush.peakBytes),
      },
      ratios: [
        atMost("push / (sha256 + plain upload)", pushMs / plainMs, 1.5),
        ...(withBuildah ? [atLeast("buildah / push", median(buildahs) / pushMs, 4)] : []),
        atMost("VmHWM in MB, 1 GiB", peak / 1e6, MEMORY_LIMIT_MB),
        atMost("VmHWM in MB, 9 GiB sparse", largePush.peakBytes / 1e6, MEMORY_LIMIT_MB),
      ],
    };
  } finally {
    await registry.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function push({ address }: TestRegistry, archive: string, signal: AbortSignal): Promise<PushCost> {
  const program = join(import.meta.dirname, "lib", "push-once.ts");
  return JSON.parse(await command([process.execPath, program, address, REPOSITORY, archive], { signal }));
}

async function hash(archive: string, signal: AbortSignal): Promise<{ digest: string; milliseconds: number }> {
  const start = performance.now();
  const output = await command(["sha256sum", archive], { signal });
  return { digest: `sha256:${output.split(/\s/)[0]}`, milliseconds: performance.now() - start };
}

/** POST and one PUT with all the bytes: the least that a registry takes. */
async function upload(
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

/** The way of the earlier operator: from scratch, add, commit, push. */
async function buildah({ address }: TestRegistry, archive: string, signal: AbortSignal): Promise<number> {
  const start = performance.now();
  const container = (await command(["buildah", "from", "scratch"], { signal })).trim();
  const image = `${address}/${REPOSITORY}:buildah`;
  try {
    await command(["buildah", "add", container, archive, "/"], { signal });
    const annotation = "--annotation=org.criu.checkpoint.container.name=bench";
    await command(["buildah", "config", annotation, container], { signal });
    await command(["buildah", "commit", container, image], { signal });
    await command(["buildah", "push", "--tls-verify=false", image], { signal });
    return performance.now() - start;
  } finally {
    await command(["buildah", "rm", container]);
    await command(["buildah", "rmi", "--force", image]).catch(() => {});
  }
}

/** Throws away what the registry holds, and lets the disk catch up. */
async function emptied(registry: TestRegistry, signal: AbortSignal): Promise<void> {
  await rm(join(registry.data, "docker"), { recursive: true, force: true });
  await command(["sync"], { signal });
}

/** A tar of one file with bytes that cannot be compressed, as memory pages mostly cannot. */
async function writeRandom(path: string, size: number, signal: AbortSignal): Promise<void> {
  const tar = pack();
  const chunk = 2 ** 20;
  async function* pages() {
    for (let at = 0; at < size; at += chunk) yield randomBytes(chunk);
  }
  const entry = tar.entry({ name: "checkpoint/pages-1.img", size });
  const packed = pipeline(pages, entry, { signal }).then(() => tar.finalize());
  await Promise.all([packed, pipeline(tar, createWriteStream(path), { signal })]);
}

/** A file of that size that takes next to no disk. */
async function writeSparse(path: string, size: number): Promise<void> {
  await using file = await open(path, "w");
  await file.write(randomBytes(2 ** 20));
  await file.truncate(size);
}
