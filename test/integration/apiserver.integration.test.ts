import { readFile } from "node:fs/promises";
import { KubeConfig } from "@kubernetes/client-node";
import { Agent, fetch } from "undici";
import { expect, inject, test } from "vitest";
import { startApiServer } from "../support/apiserver.ts";

/** Asks as the user of a kubeconfig; returns the status code and the parsed answer. */
async function ask(kubeconfig: string, path: string, init: { method?: string; body?: object } = {}) {
  const config = new KubeConfig();
  config.loadFromString(await readFile(kubeconfig, "utf8"));
  const [cluster, user] = [config.getCurrentCluster()!, config.getCurrentUser()!];
  const pem = (data: string | undefined) => Buffer.from(data ?? "", "base64").toString();
  const dispatcher = new Agent({
    connect: { ca: pem(cluster.caData), cert: pem(user.certData), key: pem(user.keyData) },
  });
  try {
    const response = await fetch(cluster.server + path, {
      dispatcher,
      method: init.method ?? "GET",
      headers: { "content-type": "application/json" },
      body: init.body && JSON.stringify(init.body),
    });
    return { status: response.status, body: (await response.json()) as { reason?: string } };
  } finally {
    await dispatcher.destroy();
  }
}

const reason = inject("whyNotApiServer");

test.skipIf(reason)(
  `the shared API server answers its administrator${reason ? ` (${reason})` : ""}`,
  async () => {
    expect((await ask(inject("kubeconfig")!, "/api/v1/namespaces/default")).status).toBe(200);
  },
);

test.skipIf(reason)("a user without a role is refused, before and after a restart", async () => {
  const server = await startApiServer();
  try {
    const nobody = await server.userKubeconfig("nobody");
    expect((await ask(nobody, "/api/v1/namespaces/default")).status).toBe(403);
    const configMap = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "kept" } };
    const path = "/api/v1/namespaces/default/configmaps";
    expect((await ask(server.kubeconfig, path, { method: "POST", body: configMap })).status).toBe(201);
    await server.restart();
    expect((await ask(nobody, "/api/v1/namespaces/default")).status).toBe(403);
    expect((await ask(server.kubeconfig, `${path}/kept`)).status).toBe(200);
  } finally {
    await server.stop();
  }
});

test.skipIf(reason)("after a compaction an old revision is gone", async () => {
  const server = await startApiServer({ flags: ["--watch-cache=false"] });
  try {
    const path = "/api/v1/namespaces/default/configmaps";
    for (const name of ["one", "two"]) {
      const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name } };
      expect((await ask(server.kubeconfig, path, { method: "POST", body })).status).toBe(201);
    }
    await server.compact();
    const old = await ask(server.kubeconfig, `${path}?resourceVersion=1&resourceVersionMatch=Exact`);
    expect(old.status).toBe(410);
  } finally {
    await server.stop();
  }
});
