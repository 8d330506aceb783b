import { join } from "node:path";
import { type Cluster, down, up } from "../cluster/cluster.ts";
import { installKcr } from "../cluster/install.ts";
import { progressTo } from "../cluster/progress.ts";
import { atMost, type BenchArgs, median, type Report, thisMachine } from "./lib/report.ts";

const CLUSTER = "kcr-bench";
const NODE = "worker-1";
/** What a container without a plan may start later than with the runtime alone, in milliseconds. */
const LIMIT_MS = 10;
/** Starts per run and contender: one is some tens of milliseconds, and the differences are small. */
const STARTS = 20;

/**
 * How much later a container starts for the handler's standing before the runtime: `create` and `start` of a
 * container without a plan, by runc and by kcr-runtime in front of the same runc, in turns, on a node of the local
 * cluster.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  const progress = progressTo();
  await using parts = new AsyncDisposableStack();
  parts.defer(() => down({ name: CLUSTER, progress }));
  const cluster = await up({ name: CLUSTER, containerd: ["2.4"], progress, signal });
  await installKcr(cluster, { progress, signal });
  const [plain, handler]: [number[], number[]] = [[], []];
  for (let round = 0; round < runs; round++) {
    note(`round ${round + 1} of ${runs}`);
    for (const [contender, milliseconds] of await starts(cluster, signal)) {
      (contender === "runc" ? plain : handler).push(milliseconds);
    }
  }
  const [plainMs, handlerMs] = [median(plain), median(handler)];
  return {
    bench: "handler",
    machine: thisMachine(),
    runs,
    figures: {
      "create and start, runc": { value: Number(plainMs.toFixed(2)), unit: "ms" },
      "create and start, kcr-runtime": { value: Number(handlerMs.toFixed(2)), unit: "ms" },
    },
    ratios: [atMost("kcr-runtime later than runc, in ms", handlerMs - plainMs, LIMIT_MS)],
  };
}

/** Runs in the node, in its own Node, so that nothing of getting there is measured. */
const SCRIPT = `
const { execFileSync } = require("node:child_process");
const { mkdirSync, writeFileSync, copyFileSync, readFileSync, rmSync } = require("node:fs");
const [starts] = process.argv.slice(1).map(Number);
const runc = /^runtime=(.*)$/m.exec(readFileSync("/opt/kcr-runtime/kcr-runtime.conf", "utf8"))[1];
const bundle = "/run/kcr-bench/bundle";
mkdirSync(bundle + "/rootfs/bin", { recursive: true });
copyFileSync("/opt/kcr-runtime/kcr-runtime", bundle + "/rootfs/bin/waits");
const quiet = { stdio: "ignore" };
rmSync(bundle + "/config.json", { force: true });
execFileSync(runc, ["spec"], { ...quiet, cwd: bundle });
const config = JSON.parse(readFileSync(bundle + "/config.json", "utf8"));
config.process.terminal = false;
config.process.args = ["/bin/waits", "--kcr-selftest", "/nowhere"];
config.annotations = {
  "io.kubernetes.cri.container-type": "container",
  "io.kubernetes.cri.container-name": "bench",
  "io.kubernetes.cri.sandbox-id": "bench",
  "io.kubernetes.cri.sandbox-uid": "bench",
};
writeFileSync(bundle + "/config.json", JSON.stringify(config));
const root = ["--root", "/run/kcr-bench/root"];
const once = (name, program) => {
  const id = "bench-" + name;
  const began = process.hrtime.bigint();
  execFileSync(program, [...root, "create", "--bundle", bundle, id], quiet);
  execFileSync(program, [...root, "start", id], quiet);
  const ms = Number(process.hrtime.bigint() - began) / 1e6;
  execFileSync(program, [...root, "delete", "--force", id], quiet);
  return [name, ms];
};
const contenders = [["runc", runc], ["kcr-runtime", "/opt/kcr-runtime/kcr-runtime"]];
for (const contender of contenders) once(...contender);
const found = [];
for (let i = 0; i < starts; i++) for (const c of i % 2 ? contenders.toReversed() : contenders) found.push(once(...c));
rmSync("/run/kcr-bench", { recursive: true, force: true });
rmSync("/var/lib/kcr/runs/bench", { recursive: true, force: true });
console.log(JSON.stringify(found));
`;

async function starts(cluster: Cluster, signal: AbortSignal): Promise<[string, number][]> {
  const lib = "/opt/kcr-runtime/lib";
  const loader = (await cluster.nodeExec(NODE, ["sh", "-c", `echo ${lib}/ld-linux*`], { signal })).trim();
  const argv = [loader, "--library-path", lib, join(lib, "node"), "-e", SCRIPT, String(STARTS)];
  return JSON.parse(await cluster.nodeExec(NODE, argv, { signal }));
}
