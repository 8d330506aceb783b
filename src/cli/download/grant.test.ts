import { expect, test } from "vitest";
import type { CheckpointDownload } from "../../api/download.ts";
import { sealToken } from "../../api/sealed-token.ts";
import { clientOf } from "../testing/api.ts";
import { askFor, followed } from "./grant.ts";

const own = { namespace: "kcr-download", podName: "p", port: 8445 };
const named = { namespace: "shop", name: "web-1" };

/** An API server with one CheckpointDownload, offered at that endpoint; `onCreated`: before the answer is sent. */
async function world({ endpoint = own, onCreated = () => {} } = {}) {
  const there = new Map<string, CheckpointDownload>();
  const api = await clientOf(async (request, response) => {
    const text = Buffer.concat(await Array.fromAsync(request)).toString();
    if (request.method === "POST") {
      const asked = JSON.parse(text) as CheckpointDownload;
      asked.metadata = { ...named, name: "d", uid: "u" };
      const sealedToken = sealToken("A".repeat(43), asked.spec.publicKey, asked.metadata);
      asked.status = { phase: "Ready", sealedToken, digest: "sha256:aa", endpoint };
      there.set("d", asked);
      onCreated();
    }
    const answer = JSON.stringify(there.get("d") ?? {});
    if (request.method === "DELETE") there.clear();
    response.end(answer);
  });
  return { api, there };
}

test("a download is asked for, and what it offers is read", async () => {
  const { api, there } = await world();
  await using _ = api;
  const grant = await askFor(api.client, named, new AbortController().signal);
  expect(grant).toMatchObject({ name: { namespace: "shop", name: "d" }, pod: { name: "p" }, port: 8445 });
  expect(there.size).toBe(1);
});

test("who is interrupted while it is made leaves none behind", async () => {
  const stop = new AbortController();
  const { api, there } = await world({ onCreated: () => stop.abort(new Error("interrupted")) });
  await using _ = api;
  await expect(askFor(api.client, named, stop.signal)).rejects.toThrow("interrupted");
  expect(there.size).toBe(0);
});

test("a token is shown to nobody outside the download part's namespace", async () => {
  const { api, there } = await world({ endpoint: { ...own, namespace: "shop" } });
  await using _ = api;
  const { signal } = new AbortController();
  await expect(askFor(api.client, named, signal)).rejects.toThrow(/in namespace shop/);
  expect(there.size).toBe(0);
  const moved = await world();
  await using __ = moved.api;
  const grant = await askFor(moved.api.client, named, signal);
  moved.there.get("d")!.status!.endpoint = { ...own, namespace: "shop" };
  await expect(followed(moved.api.client, grant, signal)).rejects.toThrow(/in namespace shop/);
});
