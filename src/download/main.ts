import { pino } from "pino";
import { DOWNLOAD_PORT } from "../api/download.ts";
import { readSettings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { stopWhenTold } from "../kube/signals.ts";
import { runDownload } from "./download.ts";

const log = pino({ base: { program: "download" }, level: process.env["KCR_LOG_LEVEL"] ?? "info" });
const settings = readSettings(process.env["KCR_CONFIG"] ?? "/etc/kcr/config.yaml");

const stop = stopWhenTold(log);

const client = Client.fromConfig({ userAgent: "kcr-download" });
try {
  await runDownload({
    client,
    settings,
    system: process.env["KCR_NAMESPACE"] ?? "kcr-system",
    port: Number(process.env["KCR_DOWNLOAD_PORT"] ?? DOWNLOAD_PORT),
    agentPort: Number(process.env["KCR_TRANSFER_PORT"] ?? 8444),
    log,
    signal: stop.signal,
  });
  log.info({}, "stopped");
} catch (error) {
  log.error({ err: error }, "ended by an error");
  process.exitCode = 1;
} finally {
  client.close();
}
