import { Command } from "commander";
import { pino } from "pino";
import { z } from "zod";
import { objectName } from "../api/common.ts";
import { asKcrError } from "../api/errors.ts";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { type Context, warn } from "./context.ts";
import { install } from "./install.ts";
import { type UninstallOptions, uninstall } from "./uninstall.ts";

/** The program of DaemonSet kcr-installer: the one privileged part of kcr. */

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => stop.abort(new Error(`stopped (${signal})`)));
}

const program = new Command("installer").description("puts kcr's runtime handler on the node it runs on");
program
  .command("install")
  .description("have the node's container runtime offer the handlers kcr and kcr-selftest")
  .action(() => run(install));
program
  .command("uninstall")
  .description("take them away, once no pod of theirs is left")
  .option("--force", "do not wait for those pods: their containers run on, and are not started again")
  .option("--purge", "remove all checkpoints and notes on the node too, once nothing else of kcr runs there")
  .action((options: UninstallOptions) => run((context, signal) => uninstall(context, options, signal)));

/** Errors are told as an Event, in the log and by the exit code. */
async function run(work: (context: Context, signal: AbortSignal) => Promise<void>): Promise<void> {
  const environment = z
    .object({
      NODE_NAME: objectName,
      POD_NAME: objectName,
      POD_NAMESPACE: objectName,
      POD_UID: z.string(),
      KCR_CONFIG: z.string().default("/etc/kcr/config.yaml"),
      KCR_LOG_LEVEL: z.string().default("info"),
      /** Where this container sees the host's root. */
      KCR_HOST: z.string().default("/host"),
      KCR_FILES: z.string().default("/opt/kcr"),
    })
    .parse(process.env);
  const node = environment.NODE_NAME;
  const log = pino({ base: { program: "installer", node }, level: environment.KCR_LOG_LEVEL });
  const client = Client.fromConfig({ userAgent: "kcr-installer" });
  const recorder = new EventRecorder({ client, controller: "kcr-installer", instance: node, log });
  const context: Context = {
    client,
    node,
    host: { root: environment.KCR_HOST, enterHost: `${environment.KCR_FILES}/enter-host` },
    runtimeFiles: `${environment.KCR_FILES}/runtime`,
    settings: readSettings(environment.KCR_CONFIG),
    pod: {
      apiVersion: "v1",
      kind: "Pod",
      name: environment.POD_NAME,
      namespace: environment.POD_NAMESPACE,
      uid: environment.POD_UID,
    },
    recorder,
    log,
  };
  try {
    await work(context, stop.signal);
  } catch (error) {
    process.exitCode = 1;
    if (stop.signal.aborted) return;
    const known = asKcrError(error);
    warn(context, known.code, known.advice);
    log.error({ err: error }, "ended by an error");
  } finally {
    await recorder.close();
    client.close();
  }
}

await program.parseAsync();
