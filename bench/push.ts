import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { available, run as command } from "../cluster/run.ts";
import { startApiServer } from "../test/support/apiserver.ts";
import { hole, type MadeContent, randomContent, writeCheckpoint } from "../test/support/archive.ts";
import { startRegistry, type TestRegistry } from "../test/support/registry.ts";
import { buildah, hash, push, upload } from "./lib/pushers.ts";
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
import { AgentStage } from "./lib/shipped-agent.ts";
import { inTurns } from "./lib/turns.ts";

const GiB = 2 ** 30;
const MEMORY_LIMIT_MB = 200;
/** Rounds with the large archive, which the registry's disk has to take three times in each. */
const LARGE_ROUNDS = 2;

/**
 * Archive -> image in a registry, on one machine, for an archive of 1 GiB that cannot be compressed and for one of
 * more than 8 GiB that is mostly a hole: how long that takes the agent as it ships, and its push alone, against
 * hashing and uploading the same bytes with `sha256sum` and `curl`, and (1 GiB) against buildah where that is
 * installed; and how much memory the agent takes.
 */
export async function run(args: BenchArgs): Promise<Report> {
  const { runs, note } = args;
  await using parts = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "kcr-bench-"));
  parts.defer(() => rm(directory, { recursive: true, force: true }));
  const registry = await startRegistry();
  parts.defer(() => registry.stop());
  const { kubeconfig, stop } = await startApiServer();
  parts.defer(stop);
  const stage = parts.use(
    await AgentStage.set({ directory: join(directory, "stage"), kubeconfig, push: registry.address }),
  );
  const bench = { ...args, directory, registry, stage };

  const withBuildah = await available("buildah");
  if (!withBuildah) note("buildah is not installed: the comparison with it is left out");
  const small = await compare(bench, { name: "1 GiB", pages: randomContent(GiB), runs, withBuildah });
  const large = await compare(bench, {
    name: "9 GiB sparse",
    pages: hole(9 * GiB),
    runs: Math.min(runs, LARGE_ROUNDS),
    withBuildah: false,
  });
  return {
    bench: "push",
    machine: thisMachine(),
    runs,
    figures: { ...small.figures, ...large.figures },
    ratios: [...small.ratios, ...large.ratios],
  };
}

interface Bench extends BenchArgs {
  directory: string;
  registry: TestRegistry;
  stage: AgentStage;
}

interface Case {
  name: string;
  pages: MadeContent;
  runs: number;
  withBuildah: boolean;
}

async function compare(
  { directory, registry, stage, signal, note }: Bench,
  { name, pages, runs, withBuildah }: Case,
): Promise<Pick<Report, "figures" | "ratios">> {
  const path = join(directory, "archive.tar");
  const archive = await writeCheckpoint(path, { podNamespace: "bench", pages }, { signal });
  const { digest } = await hash(archive, signal);
  const peaks: number[] = [];
  const builds: number[] = [];
  const contenders = {
    agent: async () => {
      const cost = await stage.run(archive, signal);
      if (cost.digest !== digest) throw new Error(`the agent has pushed ${cost.digest}, not ${digest}`);
      peaks.push(cost.peakBytes);
      return cost.milliseconds;
    },
    push: () => push(registry, archive, signal),
    sha256: async () => (await hash(archive, signal)).milliseconds,
    upload: () => upload(registry, archive, digest, signal),
    buildah: withBuildah
      ? async () => {
          const { build, push } = await buildah(registry, archive, signal);
          builds.push(build);
          return build + push;
        }
      : undefined,
  };
  const times = await inTurns(runs, contenders, async (contender, round) => {
    note(`${name}, round ${round + 1} of ${runs}: ${contender}`);
    await level(registry, archive, signal);
  });
  await rm(archive);

  const [agentMs, pushMs] = [median(times.agent), median(times.push)];
  const plainMs = median(times.sha256.map((milliseconds, round) => milliseconds + times.upload[round]!));
  const peak = Math.max(...peaks);
  return {
    figures: {
      [`agent, ${name}`]: seconds(agentMs),
      [`push, ${name}`]: seconds(pushMs),
      [`sha256, ${name}`]: seconds(median(times.sha256)),
      [`plain upload, ${name}`]: seconds(median(times.upload)),
      ...(withBuildah && {
        [`buildah, ${name}`]: seconds(median(times.buildah)),
        [`buildah without its push, ${name}`]: seconds(median(builds)),
      }),
      [`agent's VmHWM, ${name}`]: megabytes(peak),
    },
    ratios: [
      atMost(`agent / (sha256 + plain upload), ${name}`, agentMs / plainMs, 1.5),
      atMost(`push / (sha256 + plain upload), ${name}`, pushMs / plainMs, 1.5),
      ...(withBuildah ? [atLeast(`buildah / agent, ${name}`, median(times.buildah) / agentMs, 4)] : []),
      atMost(`agent's VmHWM in MB, ${name}`, peak / 1e6, MEMORY_LIMIT_MB),
    ],
  };
}

/** The same start for all: an empty registry, nothing left to be written, the archive in the page cache. */
async function level(registry: TestRegistry, archive: string, signal: AbortSignal): Promise<void> {
  await rm(join(registry.data, "docker"), { recursive: true, force: true });
  await command(["sync"], { signal });
  await command(["sh", "-c", 'cat "$1" >/dev/null', "sh", archive], { signal });
}
