import type { AddressInfo } from "node:net";
import { Worker } from "node:worker_threads";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "../../test/support/wait-for.ts";
import { serveHealth } from "./health.ts";
import { createMetrics } from "./prometheus.ts";

async function serve(given: { ready?: boolean; alive?: boolean } = {}) {
  const log = pino({ level: "info" }, { write() {} });
  const server = await serveHealth({
    port: 0,
    ready: () => given.ready ?? true,
    alive: () => given.alive ?? true,
    metrics: createMetrics().registry,
    log,
  });
  onTestFinished(() => {
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const ask = async (path: string, init?: RequestInit): Promise<[number, string]> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, init);
    return [response.status, (await response.text()).trim()];
  };
  return { ask, log, given };
}

test("ready and alive are told apart", async () => {
  const { ask, given } = await serve({ ready: false });
  expect(await ask("/readyz")).toEqual([503, "not ready"]);
  expect((await ask("/healthz"))[0]).toBe(200);
  given.ready = true;
  given.alive = false;
  expect((await ask("/readyz"))[0]).toBe(200);
  expect((await ask("/healthz"))[0]).toBe(503);
  expect((await ask("/metrics"))[1]).toContain("workqueue_depth");
  expect((await ask("/else"))[0]).toBe(404);
});

test("the log level is changed while the program runs, to one that there is", async () => {
  const { ask, log } = await serve();
  expect(await ask("/loglevel")).toEqual([200, "info"]);
  expect(await ask("/loglevel", { method: "PUT", body: "debug\n" })).toEqual([200, "debug"]);
  expect(log.level).toBe("debug");
  expect((await ask("/loglevel", { method: "PUT", body: "loud" }))[0]).toBe(400);
  expect((await ask("/loglevel", { method: "PUT", body: "debug".repeat(100_000) }))[0]).toBe(400);
  expect((await ask("/loglevel", { method: "DELETE" }))[0]).toBe(405);
  expect(log.level).toBe("debug");
});

test("a program that hangs is not healthy", async () => {
  const worker = new Worker(
    `const { parentPort } = require("node:worker_threads");
     (async () => {
       const { serveHealth } = await import(${JSON.stringify(new URL("./health.ts", import.meta.url).href)});
       const metrics = { metrics: async () => "" };
       const log = { level: "info", levels: { values: {} } };
       const server = await serveHealth({ port: 0, ready: () => true, alive: () => true, metrics, log });
       parentPort.on("message", () => { for (;;); });
       parentPort.postMessage(server.address().port);
     })();`,
    { eval: true },
  );
  onTestFinished(() => worker.terminate().then(() => {}));
  const port = await new Promise<number>((resolve, reject) => {
    worker.once("message", resolve).once("error", reject);
  });
  const healthy = async () =>
    (await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(500) })).ok;
  expect(await healthy()).toBe(true);
  worker.postMessage("hang");
  await waitFor("a probe to go unanswered", () =>
    healthy().then(
      () => false,
      () => true,
    ),
  );
});
