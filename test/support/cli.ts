import { spawn } from "node:child_process";
import { join } from "node:path";
import { kcr as runKcr, testIo } from "../../src/cli/testing/io.ts";
import type { World } from "./world.ts";

/** What a command line came to. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  /** Default: the administrator's. */
  kubeconfig?: string;
}

/** Runs a command line of `kcr` in this process, in the world's namespace, without a terminal; it may fail. */
export async function kcr(
  world: World,
  args: readonly string[],
  { kubeconfig = world.cluster.kubeconfigPath }: CliOptions = {},
): Promise<Ended> {
  const place = ["--kubeconfig", kubeconfig, "-n", world.namespace];
  const { exit, out, err } = await runKcr([...place, ...args], testIo());
  return { code: exit, stdout: out, stderr: err };
}

/** The same in a process of its own, as a person starts it. */
export function spawnKcr(world: World, args: readonly string[]): Promise<Ended> {
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, "-n", world.namespace, ...args], {
      env: { ...process.env, KUBECONFIG: world.cluster.kubeconfigPath },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    child.once("error", reject).once("close", (code) => resolve({ code, stdout, stderr }));
  });
}
