import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { thisMachine } from "../../bench/lib/report.ts";
import { down, up } from "../../cluster/cluster.ts";
import { type Progress, progressTo } from "../../cluster/progress.ts";
import type { Settings } from "../../src/api/settings.ts";
import { installKcr } from "../support/install.ts";
import { Installation } from "../support/installation.ts";
import { handlersReady } from "../support/runtime.ts";
import { crashAndCompare, deployTorn } from "../support/torn.ts";
import { crossOverCuts } from "../support/transfer.ts";
import { World } from "../support/world.ts";
import { soakCrashes } from "./crashes.ts";
import { tableOf } from "./report.ts";
import type { Failure } from "./story.ts";

/**
 * The command `npm run soak`: what the tests do a few times or with little, for as long as it takes or with much; by
 * hand. A cluster of its own, or the one of that --name.
 */
const usage = `npm run soak -- --minutes N [--engine kubelet|runc] [--seed N] [--json FILE] [--name CLUSTER] [--keep]
npm run soak -- torn [--engine kubelet|runc] [--count N] [--pods N] [--json FILE] [--name CLUSTER] [--keep]
npm run soak -- transfer [--engine kubelet|runc] [--count N] [--mib N] [--json FILE] [--name CLUSTER] [--keep]`;

interface Work {
  world: World;
  progress: Progress;
  count: number;
  /** How many programs are played with side by side. */
  pods: number;
  /** How much a checkpoint has in memory that goes from node to node. */
  bytes: number;
  /** How long chance has. */
  minutes: number;
  seed: number;
}

interface Seen {
  /** What does not hold, of a run that went on all the same. */
  failures?: Failure[];
  [more: string]: unknown;
}

/** Each says what it saw. Errors: what does not hold. */
const soaks: Record<string, { count: number; run(work: Work): Promise<Seen> }> = {
  crashes: {
    count: 1,
    async run({ world, progress, minutes, seed }) {
      const report = await soakCrashes({ world, progress, minutes, seed });
      console.error(tableOf(report));
      return { ...report };
    },
  },
  torn: {
    count: 500,
    async run({ world, progress, count, pods }) {
      await handlersReady(world);
      const workers = [world.worker("2.3"), world.worker("2.4")];
      let [begun, rounds, steps] = [0, 0, 0];
      await progress.task(`${count} crashes of programs that write all the time`, async (detail) => {
        const play = async (_: unknown, number: number) => {
          const pod = await deployTorn(world, `torn-${number}`, workers[number % workers.length]);
          while (begun++ < count) {
            const { before, after } = await crashAndCompare(world, pod);
            rounds += 1;
            steps += after - before;
            detail(`${rounds} of ${count}`);
          }
        };
        await Promise.all(Array.from({ length: pods }, play));
      });
      return { pods, rounds, steps, torn: 0 };
    },
  },
  transfer: {
    count: 1,
    async run({ world, progress, count, bytes }) {
      await handlersReady(world);
      const kcr = new Installation(world);
      const rounds: object[] = [];
      await progress.task(`${count} transfers that are cut three times`, async (detail) => {
        for (let round = 1; round <= count; round += 1) {
          const { size, sent, cuts } = await crossOverCuts(world, kcr, bytes, `${round}`);
          rounds.push({ size, sent, ratio: Number((sent / size).toPrecision(4)), cuts });
          detail(`${round} of ${count}`);
        }
      });
      return { rounds };
    },
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: "string" },
    count: { type: "string" },
    pods: { type: "string", default: "4" },
    mib: { type: "string", default: "1024" },
    json: { type: "string" },
    minutes: { type: "string", default: "30" },
    seed: { type: "string" },
    name: { type: "string", default: "kcr-soak" },
    keep: { type: "boolean", default: false },
  },
});
const { json, name, keep } = values;
const [which = "crashes"] = positionals;
const soak = soaks[which];
const engine = (values.engine ?? (which === "torn" ? "runc" : "kubelet")) as Settings["engine"];
const count = Number(values.count ?? soak?.count);
const pods = Number(values.pods);
const bytes = Number(values.mib) * 2 ** 20;
const minutes = Number(values.minutes);
const seed = Number(values.seed ?? Date.now() % 2 ** 32);
if (
  soak === undefined ||
  !["kubelet", "runc"].includes(engine) ||
  ![count, pods, bytes, minutes].every((number) => number >= 1)
) {
  console.error(usage);
  process.exit(2);
}

const progress = progressTo();
const cluster = await up({ name, containerd: ["2.3", "2.4"], progress });
try {
  await installKcr(cluster, {}, { engine });
  await using world = await World.enter(name, "soak");
  const record = { soak: which, engine, machine: thisMachine(), began: new Date().toISOString() };
  const seen = await soak.run({ world, progress, count, pods, bytes, minutes, seed });
  const result = { ...record, ...seen, ended: new Date().toISOString() };
  console.log(JSON.stringify(result, undefined, 2));
  if (seen.failures?.length) process.exitCode = 1;
  if (json !== undefined) await writeFile(json, `${JSON.stringify(result, undefined, 2)}\n`);
} finally {
  if (!keep) await down({ name, progress });
}
