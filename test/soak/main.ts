import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { thisMachine } from "../../bench/lib/report.ts";
import { down, up } from "../../cluster/cluster.ts";
import { progressTo } from "../../cluster/progress.ts";
import { installKcr } from "../support/install.ts";
import { handlersReady } from "../support/runtime.ts";
import { crashAndCompare, deployTorn } from "../support/torn.ts";
import { World } from "../support/world.ts";

/**
 * The command `npm run soak -- torn [--engine kubelet|runc] [--count N] [--json FILE]`: what the tests do ten times,
 * for as long as it takes; by hand. A cluster of its own, or the one of that --name.
 */
const usage =
  "npm run soak -- torn [--engine kubelet|runc] [--count N] [--json FILE] [--name CLUSTER] [--keep]";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: "string", default: "runc" },
    count: { type: "string", default: "500" },
    json: { type: "string" },
    name: { type: "string", default: "kcr-soak" },
    keep: { type: "boolean", default: false },
  },
});
const { engine, json, name, keep } = values;
const count = Number(values.count);
if (positionals.join() !== "torn" || (engine !== "kubelet" && engine !== "runc") || !(count >= 1)) {
  console.error(usage);
  process.exit(2);
}

const progress = progressTo();
const cluster = await up({ name, containerd: ["2.3", "2.4"], progress });
try {
  await installKcr(cluster, {}, { engine });
  await using world = await World.enter(name, "soak");
  await handlersReady(world, world.worker("2.4"));
  const record = {
    soak: "torn",
    engine,
    machine: thisMachine(),
    began: new Date().toISOString(),
    rounds: 0,
    steps: 0,
  };
  const pod = await deployTorn(world, "torn");
  await progress.task(`${count} crashes of a program that writes all the time`, async (detail) => {
    while (record.rounds < count) {
      const { after } = await crashAndCompare(world, pod);
      record.rounds += 1;
      record.steps = after;
      detail(`${record.rounds} of ${count}`);
    }
  });
  const result = { ...record, ended: new Date().toISOString(), torn: 0 };
  console.log(JSON.stringify(result, undefined, 2));
  if (json !== undefined) await writeFile(json, `${JSON.stringify(result, undefined, 2)}\n`);
} finally {
  if (!keep) await down({ name, progress });
}
