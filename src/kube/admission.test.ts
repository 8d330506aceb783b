import { request } from "node:https";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AdmissionAnswer,
  type AdmissionRequest,
  type AdmissionServer,
  serveAdmission,
} from "./admission.ts";
import { createAuthority, issue, type KeyPair, validFor } from "./certificates.ts";
import { silent } from "./log.ts";
import { orAborted } from "./signals.ts";

const authority = createAuthority("test", validFor(1));
const certificate = (): KeyPair =>
  issue(authority, { commonName: "server", names: ["127.0.0.1"] }, validFor(1));

describe("an admission server", () => {
  let server: AdmissionServer;
  let decide: (request: AdmissionRequest, signal: AbortSignal) => Promise<AdmissionAnswer>;
  beforeAll(async () => {
    server = await serveAdmission({
      port: 0,
      host: "127.0.0.1",
      paths: { "/mutate": (asked, signal) => decide(asked, signal) },
      timeoutMs: 100,
      log: silent,
    });
  });
  afterAll(() => server.close());

  const send = (body: string | Buffer, path = "/mutate", method = "POST") =>
    new Promise<{ status: number; body: string; serial: string }>((resolve, reject) => {
      const options = {
        host: "127.0.0.1",
        port: server.port,
        path,
        method,
        ca: authority.cert,
        agent: false,
      };
      const asked = request(options, (answer) => {
        const { serialNumber = "" } = (
          answer.socket as unknown as { getPeerCertificate(): { serialNumber?: string } }
        ).getPeerCertificate();
        let text = "";
        answer.on("data", (chunk) => {
          text += chunk;
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: text, serial: serialNumber }));
      });
      asked.on("error", reject);
      asked.end(body);
    });
  const review = (more: object = {}) =>
    JSON.stringify({
      apiVersion: "admission.k8s.io/v1",
      kind: "AdmissionReview",
      request: {
        uid: "u1",
        operation: "CREATE",
        namespace: "ns",
        object: { kind: "Pod", metadata: {} },
        ...more,
      },
    });
  const answerTo = async (body: string) => JSON.parse((await send(body)).body).response;

  it("answers nobody before it has a certificate, and with another from one connection to the next", async () => {
    decide = async () => ({});
    expect(server.serving).toBe(false);
    await expect(send(review())).rejects.toThrow();
    server.setCertificate(certificate());
    expect(server.serving).toBe(true);
    const first = await send(review());
    server.setCertificate(certificate());
    const second = await send(review());
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(second.serial).not.toBe(first.serial);
  });

  it("gives the decision as a JSON patch, with its warnings", async () => {
    const patch = [{ op: "add" as const, path: "/metadata/labels", value: { a: "b" } }];
    decide = async () => ({ patch, warnings: ["mind"] });
    const { patch: encoded, ...rest } = await answerTo(review());
    expect(rest).toEqual({ uid: "u1", allowed: true, patchType: "JSONPatch", warnings: ["mind"] });
    expect(JSON.parse(Buffer.from(encoded, "base64").toString())).toEqual(patch);
    decide = async () => ({});
    expect(await answerTo(review())).toEqual({ uid: "u1", allowed: true });
  });

  it("lets an object through as it is when deciding fails, or takes too long", async () => {
    decide = () => Promise.reject(new Error("broken"));
    expect(await answerTo(review())).toEqual({ uid: "u1", allowed: true });
    decide = (_, signal) => orAborted(new Promise(() => {}), signal);
    expect(await answerTo(review())).toEqual({ uid: "u1", allowed: true });
  });

  it("passes on what is of the type that it should be, and nothing else", async () => {
    const seen: AdmissionRequest[] = [];
    decide = async (asked) => {
      seen.push(asked);
      return {};
    };
    await answerTo(review({ namespace: 7, dryRun: "yes", userInfo: null, object: "pod" }));
    await answerTo(review({ dryRun: true, userInfo: { username: "me" } }));
    expect(seen).toMatchObject([
      { namespace: undefined, dryRun: false, userInfo: { username: undefined }, object: undefined },
      { namespace: "ns", dryRun: true, userInfo: { username: "me" }, object: { kind: "Pod" } },
    ]);
  });

  it.each<[number, string, string | Buffer, string?, string?]>([
    [404, "another path", review(), "/other"],
    [404, "a path of every object's", review(), "/constructor"],
    [405, "another method", "", "/mutate", "GET"],
    [400, "no JSON", "{"],
    [400, "null", "null"],
    [400, "no review", "{}"],
    [400, "a review without a request", JSON.stringify({ apiVersion: "admission.k8s.io/v1" })],
    [400, "a request without a uid", review({ uid: undefined })],
    [400, "another version", review().replace("admission.k8s.io/v1", "admission.k8s.io/v2")],
    [413, "a body of 5 MiB", Buffer.alloc(5 * 1024 * 1024, " ")],
  ])("answers %d to %s", async (status, _what, body, path, method) => {
    decide = async () => ({});
    expect((await send(body, path, method)).status).toBe(status);
  });
});
