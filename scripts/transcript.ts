import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { attach } from "../cluster/cluster.ts";
import { Client } from "../src/kube/client.ts";
import { type Deployment, deployments, namespaces, pods } from "../src/kube/resources.ts";
import { absent } from "../src/kube/write.ts";
import { Terminal } from "../test/support/terminal.ts";
import { waitFor } from "../test/support/wait-for.ts";
import { bundleCli, CLI } from "./build.ts";

/**
 * Writes the README's transcript of a session with `kcr`: what a person types, and what a real cluster with kcr in it
 * answers, as it stands on a real terminal. By hand: `node scripts/transcript.ts --name <cluster>`.
 */
const { values } = parseArgs({ options: { name: { type: "string", default: "kcr" } } });
const NAMESPACE = "shop";
const BEGIN = "<!-- Written by scripts/transcript.ts from a real session. -->\n```text\n";
const END = "```\n<!-- End of the session. -->";
const readme = join(import.meta.dirname, "..", "README.md");

const cluster = await attach(values.name);
const client = Client.fromConfig({ kubeconfig: cluster.kubeconfigPath, userAgent: "kcr-transcript" });
const work = await mkdtemp(join(tmpdir(), "kcr-transcript-"));
try {
  const kubeconfig = parse(await readFile(cluster.kubeconfigPath, "utf8"));
  kubeconfig.contexts[0].context.namespace = NAMESPACE;
  await writeFile(join(work, "kubeconfig"), JSON.stringify(kubeconfig));
  await bundleCli(join(work, "bin"));
  await symlink(CLI, join(work, "bin", "kcr"));
  await symlink(await cluster.kubectlPath(), join(work, "bin", "kubectl"));
  await deploy();
  const session = await play();
  const text = await readFile(readme, "utf8");
  const [before, rest] = text.split(BEGIN);
  const [, after] = rest?.split(END) ?? [];
  if (before === undefined || after === undefined) throw new Error("README.md has no place for the session");
  await writeFile(readme, `${before}${BEGIN}${session}\n${END}${after}`);
  console.log(session);
} finally {
  await client.delete(namespaces, { name: NAMESPACE }).catch(absent);
  client.close();
  await rm(work, { recursive: true });
}

async function deploy(): Promise<void> {
  await client.create(namespaces, { metadata: { name: NAMESPACE } });
  const labels = { app: "redis" };
  const command = ["redis-server", "--save", "", "--protected-mode", "no"];
  await client.create(deployments, {
    metadata: { name: "redis", namespace: NAMESPACE },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          containers: [
            {
              name: "redis",
              image: cluster.images.redis,
              command,
              readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  } as unknown as Deployment);
}

/** Waits for the pod that is restored by the handler, and for no other to be there. */
function rolledOut(): Promise<boolean> {
  return waitFor("a pod of class kcr", async () => {
    const { items } = await client.list(pods, { namespace: NAMESPACE });
    const [pod, ...others] = items;
    const isReady = pod?.status?.conditions?.some((c) => c.type === "Ready" && c.status === "True");
    return isReady && others.length === 0 && pod?.spec?.runtimeClassName === "kcr";
  });
}

async function play(): Promise<string> {
  const env = {
    KUBECONFIG: join(work, "kubeconfig"),
    PATH: `${join(work, "bin")}:${dirname(process.execPath)}:${process.env["PATH"]}`,
    HOME: work,
  };
  await using terminal = await Terminal.open(env, { columns: 118 });
  const lines: string[] = [];
  const type = async (line: string, answer?: string): Promise<string> => {
    await terminal.type(line);
    if (answer !== undefined) {
      await terminal.shows(/\[y\/N\]$/);
      await terminal.keys(answer);
      await terminal.press("Enter");
    }
    const screen = await terminal.shows(/\n\$$/);
    // The last line is the next prompt.
    lines.push(screen.split("\n").slice(0, -1).join("\n").trim());
    return screen;
  };
  await type("kcr protect deploy/redis --schedule '*/10 * * * *' --restart");
  await rolledOut();
  await type("kubectl exec deploy/redis -- redis-cli set basket '3 apples'");
  const taken = await type("kcr checkpoint deploy/redis");
  const [, name = ""] = /^(redis-\S+) +redis +Good/m.exec(taken) ?? [];
  await type("kubectl exec deploy/redis -- redis-cli flushall");
  await type(`kcr restore ${name}`, "y");
  await type("kubectl exec deploy/redis -- redis-cli get basket");
  await type("kcr status");
  return lines.join("\n\n");
}
