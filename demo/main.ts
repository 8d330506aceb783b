import { writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError, Option } from "commander";
import { whyNotCluster } from "../cluster/binaries.ts";
import { attach, type Cluster, clusters, down, up } from "../cluster/cluster.ts";
import { installKcr } from "../cluster/install.ts";
import type { ContainerdVersion } from "../cluster/plan.ts";
import { progressTo } from "../cluster/progress.ts";
import { RUNTIME_LABEL } from "../src/api/labels.ts";
import { cannotRun, closing, interrupted, opening } from "./framing.ts";
import { handlerReady } from "./handler.ts";
import { Screen } from "./screen.ts";
import { type StrategyName, strategies } from "./strategy.ts";
import { isWhole, summary } from "./summary.ts";
import { walkthrough } from "./walkthrough.ts";

/** The command `npm run demo`: flags, and the order of the acts. */

const CLUSTER = "kcr";

interface Flags {
  strategy: StrategyName;
  keys: number;
  json?: string;
  cluster?: string;
  down?: boolean;
}

const flags = new Command("demo")
  .description("The walkthrough: one annotation, a crash, and the state is back, on a real local cluster")
  .addOption(
    new Option(
      "--strategy <strategy>",
      "what brings the container back: kcr's runtime handler, or an image that containerd 2.3 restores from",
    )
      .choices(Object.keys(strategies))
      .default("runtime"),
  )
  .option("--json <file>", "write what was seen as JSON")
  .option("--down", "take the cluster away at the end")
  .addOption(
    new Option("--cluster <name>", "play on a local cluster that is up with kcr in it, as it is").conflicts(
      "down",
    ),
  )
  .addOption(new Option("--keys <number>").argParser(positive).default(100_000).hideHelp())
  .parse()
  .opts<Flags>();

function positive(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 9999999");
  return Number(text);
}

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interrupt.abort(new Error(`interrupted (${signal})`)));
}
const { signal } = interrupt;
const screen = new Screen(progressTo(process.stdout));
const { progress } = screen;
const name = flags.cluster ?? CLUSTER;
const strategy = strategies[flags.strategy];

/** The workers that the cluster has, and one for the strategy if there is none. */
async function workers(): Promise<ContainerdVersion[]> {
  const there = (await clusters()).includes(name)
    ? await attach(name).then(
        ({ nodes }) => nodes.map(({ containerd }) => containerd),
        () => [], // one that was never more than begun
      )
    : [];
  if (there.includes(strategy.containerd)) return there;
  if (there.length > 0) {
    screen.say(
      `Cluster ${name} is there already, for the other strategy. It gets one more worker, with containerd ${strategy.containerd}.`,
    );
  }
  return [...there, strategy.containerd];
}

async function ready(): Promise<Cluster> {
  const cluster = await installed();
  if (strategy.name === "runtime") await handlerReady(cluster, strategy, { progress, signal });
  return cluster;
}

async function installed(): Promise<Cluster> {
  if (flags.cluster !== undefined) return await attach(flags.cluster);
  screen.heading("A cluster with kcr in it");
  screen.say(
    "A control plane, a worker and a registry come up in namespaces of this machine. The first time everything is built from source, which takes some minutes; after that it takes about one.",
  );
  screen.say(strategy.says.cluster);
  const cluster = await up({ name, containerd: await workers(), progress, signal });
  await installKcr(cluster, { handler: strategy.handler, progress, signal });
  return cluster;
}

async function play(): Promise<boolean> {
  opening(screen);
  const cluster = await ready();
  screen.command(
    `kubectl get nodes -L ${RUNTIME_LABEL}`,
    await cluster.kubectl(["get", "nodes", "-L", RUNTIME_LABEL], { signal }),
  );
  const { result, seen } = await walkthrough(cluster, screen, { strategy, keys: flags.keys, signal });
  if (flags.json !== undefined) await writeFile(flags.json, `${JSON.stringify(result, undefined, 2)}\n`);
  screen.heading("Summary");
  screen.lines(summary(result, seen));
  closing(screen, { name, result, seen, kept: flags.down !== true });
  if (flags.down) {
    await down({ name, progress });
    screen.line(`Cluster ${name} is gone.`);
  }
  return isWhole(result, seen);
}

const whyNot = await whyNotCluster();
if (whyNot !== undefined) {
  cannotRun(screen, whyNot);
  process.exitCode = 1;
} else {
  try {
    if (!(await play())) process.exitCode = 1;
  } catch (error) {
    if (signal.aborted) {
      interrupted(screen, name);
      process.exitCode = 130;
    } else {
      screen.line();
      screen.line(screen.style("red", `The demo failed: ${error instanceof Error ? error.message : error}`));
      screen.line(`Look at: npm run cluster -- --name ${name} status`);
      process.exitCode = 1;
    }
  }
}
