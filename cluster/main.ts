import { spawn } from "node:child_process";
import { resolve } from "node:path";
import { Command } from "commander";
import { whyNotCluster } from "./binaries.ts";
import { attach, clusters, down, up } from "./cluster.ts";
import { ensureImage, type ImageName, imageNames, pushImage, pushLayoutDirectory } from "./images.ts";
import { parseContainerd } from "./plan.ts";
import { progressTo } from "./progress.ts";

/** The command `npm run cluster -- ...`: flags only, what they mean is in cluster.ts. */

const progress = progressTo();
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => interrupt.abort(new Error(`interrupted (${signal})`)));
}
const { signal } = interrupt;

const program = new Command("cluster")
  .description(
    "A Kubernetes cluster on this machine, with CRIU in its nodes, for trying kcr out and for its tests",
  )
  .enablePositionalOptions();
const nameFlag = ["--name <name>", "which cluster (kcr); several can be up side by side"] as const;
program.option(...nameFlag);

interface Named {
  name?: string;
}

/** The cluster that was named behind the command, else before it. */
function nameIn(flags: Named): string {
  return flags.name ?? program.opts<Named>().name ?? "kcr";
}

program
  .command("up")
  .description("bring the cluster up; repairs one that is half up")
  .option("--nodes <count>", "number of workers")
  .option("--containerd <versions>", "containerd of each worker, in order: 2.3, 2.4 or 2.3,2.4")
  .option("--max-restart-period <duration>", "longest wait between restarts of a crashing container")
  .option(...nameFlag)
  .action(async (flags: Named & { nodes?: string; containerd?: string; maxRestartPeriod?: string }) => {
    const name = nameIn(flags);
    const { nodes, containerd, maxRestartPeriod } = flags;
    const since = Date.now();
    const versions =
      nodes === undefined && containerd === undefined
        ? undefined
        : parseContainerd(containerd ?? "2.3", nodes === undefined ? undefined : Number(nodes));
    const cluster = await up({ name, containerd: versions, maxRestartPeriod, progress, signal });
    const workers = cluster.nodes.map((node) => `${node.name} (containerd ${node.containerd})`);
    console.log(`cluster ${cluster.name} is up after ${Math.round((Date.now() - since) / 1000)} s`);
    console.log(`  workers   ${workers.join(", ")}`);
    console.log(`  images    ${Object.values(cluster.images).join(" ")}`);
    console.log(`  registry  push to http://${cluster.registry.push}, pull from ${cluster.registry.pull}`);
    console.log(`try: npm run cluster -- kubectl get nodes`);
    console.log(`or:  export KUBECONFIG=${cluster.kubeconfigPath}`);
  });

program
  .command("down")
  .description("take the cluster down, with all its data")
  .option(...nameFlag)
  .action(async (flags: Named) => {
    const name = nameIn(flags);
    await down({ name, progress, signal });
    console.log(`cluster ${name} is gone`);
  });

program
  .command("status")
  .description("say which parts are running")
  .option(...nameFlag)
  .action(async (flags: Named) => {
    const name = nameIn(flags);
    const whyNot = await whyNotCluster();
    if (whyNot !== undefined) console.log(`the local cluster cannot run on this machine: ${whyNot}`);
    const all = await clusters();
    if (!all.includes(name)) {
      console.log(`there is no cluster ${name}${all.length > 0 ? `, but ${all.join(", ")}` : ""}`);
      process.exitCode = 1;
      return;
    }
    for (const { part, running } of await (await attach(name)).status()) {
      console.log(`${running ? "running" : "stopped"}  ${part}`);
      if (!running) process.exitCode = 1;
    }
  });

program
  .command("kubectl")
  .description("run kubectl as administrator")
  .argument("[args...]")
  .allowUnknownOption()
  .helpOption(false)
  .passThroughOptions()
  .action(async (args: string[]) => {
    const cluster = await attach(nameIn({}));
    await become([await cluster.kubectlPath(), "--kubeconfig", cluster.kubeconfigPath, ...args]);
  });

program
  .command("shell")
  .description("a shell in a node, or a command")
  .argument("<node>", "control-plane, worker-1, ...")
  .argument("[command...]")
  .option(...nameFlag)
  .passThroughOptions()
  .action(async (node: string, command: string[], flags: Named) => {
    const cluster = await attach(nameIn(flags));
    await become(await cluster.nodeCommand(node, command.length > 0 ? command : ["bash"]));
  });

program
  .command("logs")
  .description("what a part has written")
  .argument("<part>", "registry, kube-apiserver, worker-1/kubelet, ...")
  .option(...nameFlag)
  .action(async (part: string, flags: Named) => {
    process.stdout.write(await (await attach(nameIn(flags))).logs(part));
  });

const node = program.command("node").description("stop and start single nodes");
node
  .command("stop")
  .argument("<node>")
  .option("--kill", "as if its power went")
  .option(...nameFlag)
  .action(async (which: string, flags: Named & { kill?: boolean }) => {
    const cluster = await attach(nameIn(flags));
    await progress.task(`stopping ${which}`, () => cluster.stopNode(which, { kill: flags.kill }));
  });
node
  .command("start")
  .argument("<node>")
  .option(...nameFlag)
  .action(async (which: string, flags: Named) => {
    const cluster = await attach(nameIn(flags));
    await progress.task(`starting ${which}`, () => cluster.startNode(which));
  });

const image = program.command("image").description("images for tests and demo, and others");
image
  .command("build")
  .description("build images into the cache")
  .argument("[names...]", imageNames.join(", "))
  .action(async (names: string[]) => {
    for (const one of known(names)) {
      const { directory, descriptor } = await ensureImage(one, { progress, signal });
      console.log(`${one} ${descriptor.digest} ${directory}`);
    }
  });
image
  .command("push")
  .description("build images and push them to the cluster's registry")
  .argument("[names...]", imageNames.join(", "))
  .option(...nameFlag)
  .action(async (names: string[], flags: Named) => {
    const { registry } = await attach(nameIn(flags));
    for (const one of known(names)) console.log(await pushImage(one, registry.push, { progress, signal }));
  });
image
  .command("load")
  .description("push an image in an OCI layout directory to the cluster's registry")
  .argument("<directory>")
  .argument("<name>", "repository:tag")
  .option(...nameFlag)
  .action(async (directory: string, target: string, flags: Named) => {
    const { registry } = await attach(nameIn(flags));
    const [, repository, tag] = /^(.+?)(?::([\w][\w.-]*))?$/.exec(target) ?? [];
    const options = { progress, signal };
    console.log(
      await pushLayoutDirectory(resolve(directory), registry.push, repository!, tag ?? "latest", options),
    );
  });

function known(names: readonly string[]): ImageName[] {
  if (names.length === 0) return imageNames;
  return names.map((one) => {
    const found = imageNames.find((image) => image === one);
    if (found === undefined) throw new Error(`there is no image ${one}, but ${imageNames.join(", ")}`);
    return found;
  });
}

/** Runs a command on this terminal, and ends as it ends. */
async function become(argv: readonly string[]): Promise<void> {
  const child = spawn(argv[0]!, argv.slice(1), { stdio: "inherit" });
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, killedBy) => resolve(code ?? (killedBy ? 1 : 0)));
  });
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`cluster: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
