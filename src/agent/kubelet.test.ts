import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAuthority, issue } from "../../cluster/pki.ts";
import { answerError, checkpoint, checkpointPath, type KubeletOptions } from "./kubelet.ts";

const authority = createAuthority("kubelet ca");
const identity = issue(authority, { commonName: "node-a", names: ["127.0.0.1"] });
const target = { namespace: "shop", pod: "cache-0", container: "app" };
const file = "checkpoint-cache-0_shop-app-2026-01-01T12:00:00Z.tar";

let directory: string;
/** Stands for a kubelet's answers, its errors above all; a real kubelet's dump is tried on the local cluster. */
let server: Server;
let kubelet: KubeletOptions;
let tokens: string[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-kubelet-"));
  server = createServer(identity, (request, response) => answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await writeFile(join(directory, "ca.crt"), authority.cert);
  await writeFile(join(directory, "other-ca.crt"), createAuthority("someone else").cert);
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});
beforeEach(async () => {
  tokens = ["first", "second"];
  kubelet = {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    caFile: join(directory, "ca.crt"),
    token: {
      get: async () => tokens[0] ?? "none",
      forget: (token) => {
        tokens = tokens.filter((other) => other !== token);
      },
    },
  };
  answer = (_, response) =>
    void response.end(JSON.stringify({ items: [`/var/lib/kubelet/checkpoints/${file}`] }));
});

const says = (status: number, body: string) => {
  answer = (_, response) => void response.writeHead(status).end(body);
};

describe("checkpoint", () => {
  it("asks for one container, in whole seconds, with the token as it is now", async () => {
    const seen: Array<string | undefined> = [];
    answer = (request, response) => {
      seen.push(request.method, request.url, request.headers.authorization);
      response.end(JSON.stringify({ items: [`/var/lib/kubelet/checkpoints/${file}`] }));
    };
    expect(await checkpoint(kubelet, target, 29.2)).toBe(file);
    tokens = ["rotated"];
    await checkpoint(kubelet, target, -5);
    expect(seen).toEqual([
      "POST",
      "/checkpoint/shop/cache-0/app?timeout=30",
      "Bearer first",
      "POST",
      "/checkpoint/shop/cache-0/app?timeout=1",
      "Bearer rotated",
    ]);
  });

  it.each([
    { ...target, namespace: "../x" },
    { ...target, pod: "a/b" },
    { ...target, container: ".." },
    { ...target, container: "a?timeout=1" },
    { ...target, pod: "" },
  ])("never asks for %j", (hostile) => {
    expect(() => checkpointPath(hostile, 1)).toThrow(TypeError);
  });

  it("does not believe a kubelet whose certificate another CA signed, unless told to", async () => {
    const distrusting = { ...kubelet, caFile: join(directory, "other-ca.crt") };
    await expect(checkpoint(distrusting, target, 1)).rejects.toMatchObject({
      code: "KubeletCertUntrusted",
      retries: 0,
    });
    expect(await checkpoint({ ...distrusting, insecureSkipVerify: true }, target, 1)).toBe(file);
  });

  it("does not believe a certificate of another address", async () => {
    // 127.0.0.2 is this machine too, and not in the certificate.
    const elsewhere = createServer(identity, (_, response) => void response.end());
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.2", resolve));
    const { port } = elsewhere.address() as AddressInfo;
    try {
      const asked = checkpoint({ ...kubelet, host: "127.0.0.2", port }, target, 1);
      await expect(asked).rejects.toMatchObject({ code: "KubeletCertUntrusted" });
    } finally {
      elsewhere.close();
    }
  });

  it("is worth asking again when nobody answers", async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    await expect(checkpoint({ ...kubelet, port }, target, 1)).rejects.toMatchObject({
      code: "KubeletUnreachable",
      retries: Number.POSITIVE_INFINITY,
    });
    answer = (request) => void request.socket.destroy();
    await expect(checkpoint(kubelet, target, 1)).rejects.toMatchObject({ code: "KubeletUnreachable" });
  });

  it("ends with its signal", async () => {
    const stop = new AbortController();
    answer = () => stop.abort(new Error("enough"));
    await expect(checkpoint(kubelet, target, 1, stop.signal)).rejects.toThrow("enough");
  });

  it.each([
    ["not JSON", "ok"],
    ["no items", "{}"],
    ["none", '{"items":[]}'],
    ["two", `{"items":["/a/${file}","/a/${file}"]}`],
    ["no archive", '{"items":["/etc/passwd"]}'],
    ["a name that leads elsewhere", '{"items":["/a/checkpoint-..tar"]}'],
    ["endless", " ".repeat(200_000)],
  ])("does not take an answer that is wrong: %s", async (_, body) => {
    says(200, body);
    await expect(checkpoint(kubelet, target, 1)).rejects.toMatchObject({ code: "CheckpointFailed" });
  });

  it("uses nothing of the answer but the file's name", async () => {
    says(200, JSON.stringify({ items: [`/elsewhere/../x/${file}`] }));
    expect(await checkpoint(kubelet, target, 1)).toBe(file);
  });

  it("shows another token once one was not believed, and the same one when it is not enough", async () => {
    says(401, "Unauthorized");
    await expect(checkpoint(kubelet, target, 1)).rejects.toMatchObject({
      code: "KubeletForbidden",
      retries: 1,
    });
    expect(tokens).toEqual(["second"]);
    says(403, "Forbidden");
    await expect(checkpoint(kubelet, target, 1)).rejects.toMatchObject({
      code: "KubeletForbidden",
      retries: 0,
    });
    expect(tokens).toEqual(["second"]);
  });

  it("keeps what the runtime said", async () => {
    says(
      500,
      "checkpointing of shop/cache-0/app failed (rpc error: code = Unknown desc = criu failed: type NOTIFY)",
    );
    await expect(checkpoint(kubelet, target, 1)).rejects.toMatchObject({
      code: "CheckpointFailed",
      message: expect.stringContaining("criu failed: type NOTIFY"),
      retries: 0,
    });
  });
});

describe("answerError", () => {
  it.each<[number, string, string, number]>([
    [401, "Unauthorized", "KubeletForbidden", 1],
    [
      403,
      "Forbidden (user=x, verb=create, resource=nodes, subresource(s)=[checkpoint])",
      "KubeletForbidden",
      0,
    ],
    [404, "404 page not found", "CheckpointUnsupported", 0],
    [404, "pod does not exist", "PodNotFound", 4],
    [404, "container app does not exist", "ContainerNotFound", 4],
    [500, 'failed (exec: "criu": executable file not found in $PATH)', "CheckpointUnsupported", 0],
    [
      500,
      "failed (CRIU binary not found or too old (<31600). Failed to checkpoint)",
      "CheckpointUnsupported",
      0,
    ],
    [500, "failed (checkpoint/restore support not available)", "CheckpointUnsupported", 0],
    [500, "failed (rpc error: code = Unimplemented desc = unknown method)", "CheckpointUnsupported", 0],
    [500, "failed (runc did not: cannot pause a paused container: unknown)", "CheckpointFailed", 4],
    [500, "failed (criu failed: type DUMP errno 0 path= /x/criu-dump.log)", "CheckpointFailed", 2],
    [500, "failed (OCI runtime pause failed: unable to freeze)", "CheckpointFailed", 4],
    [500, "failed (open /x/ctrd-checkpoint/status: no such file or directory)", "CheckpointFailed", 4],
    [500, "failed (rpc error: code = Unavailable desc = error reading: EOF)", "CheckpointFailed", 4],
    [500, "failed (write /x/checkpoint-p.tar: no space left on device)", "DiskFull", 0],
    [500, "failed (open /x/checkpoint-p.tar: read-only file system)", "DiskReadOnly", 0],
    [500, "failed (rpc error: context deadline exceeded)", "CheckpointFailed", 0],
    [500, "", "CheckpointFailed", 0],
    [302, "", "CheckpointFailed", 0],
  ])("%i %s", (status, body, code, retries) => {
    expect(answerError(status, body)).toMatchObject({ code, retries });
  });

  it("bounds a long text and keeps both its ends, in one line", () => {
    const { message } = answerError(500, `begin\n${"x".repeat(100_000)}\nend`);
    expect(message.length).toBeLessThanOrEqual(2000);
    expect(message).toMatch(/^begin x+ \.\.\. x+ end$/);
  });
});
