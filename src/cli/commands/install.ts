import { type Command, Option } from "commander";
import { ERRORS, KcrError } from "../../api/errors.ts";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { patience } from "../flags.ts";
import type { Choices } from "../install/choose.ts";
import { type Io, print } from "../io.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";
import { examples } from "./examples.ts";

interface Flags extends Choices {
  wait: boolean;
  timeout: number;
  dryRun?: boolean;
}

export function registerInstall(program: Command, io: Io): void {
  program
    .command("install")
    .description("install kcr in the cluster, or bring it up to date")
    .option("--image <reference>", "kcr's own image: registry/repository@sha256:...")
    .option("--registry <host[:port]>", "where pods reach the registry that checkpoints are pushed to")
    .option("--registry-pull <host[:port]>", "where nodes reach it, if by another name")
    .option("--registry-prefix <path>", "repositories are <prefix>/<namespace>/checkpoint-... (default: kcr)")
    .option("--plain-http", "speak HTTP to it: memory then crosses the network for everyone to read")
    .addOption(
      new Option("--store <where>", "where Checkpoints are kept").choices(["node", "registry", "both"]),
    )
    .addOption(
      new Option("--engine <name>", "what dumps containers; runc has the agent privileged").choices([
        "kubelet",
        "runc",
      ]),
    )
    .option("--settings <file>", "more settings, as in config/settings.yaml")
    .option("--handler", "give the nodes the runtime handler (default, unless it was installed without)")
    .option("--no-handler", "leave the nodes alone: no runtime handler, and nothing privileged")
    .option("--no-wait", "do not wait until it has come up")
    .option("--timeout <seconds>", "how long to wait", patience, 300)
    .option("--dry-run", "print what would be applied, as YAML, and ask no cluster")
    .addHelpText(
      "after",
      `
What is not said stays as it is installed. Doing it again changes nothing, or brings up what is new.
${examples([
  [
    "kcr install --image registry.example.com/kcr/kcr@sha256:... --registry registry.example.com",
    "install it, with a registry for checkpoints",
  ],
  ["kcr install --image registry.example.com/kcr/kcr@sha256:... --store node", "without any registry"],
  ["kcr install --engine runc", "change one setting of an installation"],
  ["kcr install --image ... --store node --dry-run > kcr.yaml", "to look at it, or to apply it otherwise"],
])}`,
    )
    .action(async (flags: Flags, command: Command) => {
      const { choose } = await import("../install/choose.ts");
      if (flags.dryRun) {
        const { objects } = await choose(flags, undefined);
        const { stringify } = await import("yaml");
        await print(
          io,
          objects
            .map((object) => stringify(object, { lineWidth: 0 }))
            .join("---\n")
            .trimEnd(),
        );
        return;
      }
      const { client, again } = await connect(clusterFlagsOf(command));
      try {
        const { findInstalled, hasHandler } = await import("../install/installed.ts");
        const found = await findInstalled(client, io.signal);
        const installed = found && { ...found, handler: await hasHandler(client, io.signal) };
        const { objects, selftest } = await choose(flags, installed);
        const { applyAll, removeBoundInstaller, waitUntilReady } = await import("../install/install.ts");
        {
          using progress = startProgress(io, "applying");
          await removeBoundInstaller(client, io.signal);
          let done = 0;
          const told = ({ kind, metadata }: (typeof objects)[number]) =>
            progress.update({ text: `${++done} of ${objects.length}, ${kind} ${metadata.name}` });
          await applyAll(client, objects, told, io.signal);
        }
        await print(io, `${objects.length} objects applied`);
        if (!flags.wait) return;
        using progress = startProgress(io, "waiting for");
        const options = { objects, selftest, timeoutMs: flags.timeout * 1000 };
        const { waiting, problems } = await waitUntilReady(
          client,
          options,
          (readiness) => progress.update({ text: readiness.waiting.join("; ") }),
          io.signal,
        );
        progress[Symbol.dispose]();
        for (const { node, code, message } of problems) {
          io.stderr.write(`${safe(`warning: ${node}: ${message} (${code})`)}\n  ${ERRORS[code].remedy}\n`);
        }
        if (waiting.length > 0) {
          throw new KcrError(
            "InstallIncomplete",
            `after ${flags.timeout} s not all is ready: ${waiting.join("; ")}`,
          );
        }
        await print(
          io,
          "kcr is ready",
          "",
          "Next:",
          `  ${io.program} check deploy/NAME${again}      # whether it can be checkpointed and restored`,
          `  ${io.program} protect deploy/NAME --schedule '*/10 * * * *'${again}`,
        );
      } finally {
        client.close();
      }
    });
}
