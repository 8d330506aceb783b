import { X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { DOWNLOAD_USAGES, TRANSFER_SIGNER, TRANSFER_USAGES } from "../../api/agent-certificate.ts";
import { renewAuthorities } from "../../kube/authority.ts";
import { createAuthority, createRequest, isIssuedBy, validFor, validityOf } from "../../kube/certificates.ts";
import type { CertificateSigningRequest } from "../../kube/resources.ts";
import {
  callerOf,
  DOWNLOAD_NAME,
  DOWNLOAD_ORGANIZATION,
  nodeOf,
  ORGANIZATION,
} from "../../transfer/identity.ts";
import { certificateFor, decideRequest } from "./decide.ts";

const AGENT = "system:serviceaccount:kcr-system:kcr-agent";
const EXTRA = "authentication.kubernetes.io/node-name";
const HOUR = 3_600_000;
const base64 = (text: string) => Buffer.from(text).toString("base64");
const pemFor = (commonName: string, organizations = [ORGANIZATION]) =>
  base64(createRequest({ commonName, organizations }).request);
const own = pemFor("node-1");

type Spec = CertificateSigningRequest["spec"];
const request = (
  spec: Partial<Spec> = {},
  status: CertificateSigningRequest["status"] = {},
): CertificateSigningRequest => ({
  metadata: { name: "kcr-agent-x" },
  spec: {
    signerName: TRANSFER_SIGNER,
    usages: TRANSFER_USAGES,
    username: AGENT,
    extra: { [EXTRA]: ["node-1"], "authentication.kubernetes.io/pod-name": ["kcr-agent-x"] },
    request: own,
    ...spec,
  },
  status,
});
const decide = (...given: Parameters<typeof request>) =>
  decideRequest(request(...given), { namespace: "kcr-system" });
const noted = (type: string) => ({
  conditions: [{ type, status: "True", lastUpdateTime: "2026-01-01T00:00:00Z" }],
});

describe("what an agent asks for its own node", () => {
  test("is approved, then signed, then left alone", () => {
    expect(decide()).toEqual({ type: "approve" });
    expect(decide({}, noted("Approved"))).toMatchObject({
      type: "sign",
      subject: { commonName: "node-1", organizations: [ORGANIZATION] },
    });
    expect(decide({}, { ...noted("Approved"), certificate: "Y2VydA==" })).toEqual({ type: "nothing" });
  });

  test("is signed for a day, for that node and nobody else, by who is trusted that long", () => {
    const now = new Date();
    const authorities = renewAuthorities([], "test", now);
    const decision = decide({}, noted("Approved"));
    if (decision.type !== "sign") throw new Error(decision.type);
    const cert = certificateFor(decision, authorities, now);
    const certificate = new X509Certificate(cert);
    expect(isIssuedBy(cert, authorities[0]!.cert)).toBe(true);
    expect(nodeOf(certificate, now)).toBe("node-1");
    expect(nodeOf(certificate, new Date(now.getTime() + 23 * HOUR))).toBe("node-1");
    expect(nodeOf(certificate, new Date(now.getTime() + 25 * HOUR))).toBeUndefined();
    expect(certificate.ca).toBe(false);

    const ending = createAuthority("test", { ...validFor(1), notAfter: new Date(now.getTime() + HOUR) });
    const short = certificateFor(decision, [ending], now);
    expect(validityOf(short).notAfter).toEqual(validityOf(ending.cert).notAfter);
    expect(() => certificateFor(decision, [], now)).toThrow("no authority");
  });
});

describe("what the download part asks for itself", () => {
  const its: Partial<Spec> = {
    username: "system:serviceaccount:kcr-download:kcr-download",
    usages: DOWNLOAD_USAGES,
    request: pemFor(DOWNLOAD_NAME, [DOWNLOAD_ORGANIZATION]),
  };

  test("is signed for it, and is no node's", () => {
    const now = new Date();
    expect(decide(its)).toEqual({ type: "approve" });
    const decision = decide(its, noted("Approved"));
    if (decision.type !== "sign") throw new Error(decision.type);
    const cert = new X509Certificate(certificateFor(decision, renewAuthorities([], "test", now), now));
    expect(callerOf(cert, now)).toEqual({ type: "download" });
    expect(nodeOf(cert, now)).toBeUndefined();
  });

  test.each<[string, Partial<Spec>]>([
    ["a node's", { request: own }],
    ["an agent's group", { request: pemFor(DOWNLOAD_NAME) }],
    ["an agent's usages", { usages: TRANSFER_USAGES }],
    ["another account of its namespace", { username: "system:serviceaccount:kcr-download:default" }],
    ["an account of that name elsewhere", { username: "system:serviceaccount:shop:kcr-download" }],
    ["an agent", { username: AGENT }],
  ])("is denied: %s", (_, spec) => {
    expect(decide({ ...its, ...spec })).toMatchObject({ type: "deny" });
  });
});

describe("anything else", () => {
  test.each<[string, Partial<Spec>]>([
    ["another account", { username: "system:serviceaccount:kcr-system:kcr-operator" }],
    ["an agent of another namespace", { username: "system:serviceaccount:default:kcr-agent" }],
    ["a person", { username: "admin" }],
    ["nobody", { username: undefined }],
    ["a token that is bound to no node", { extra: {} }],
    ["a token without more", { extra: undefined }],
    ["a token that is bound to two nodes", { extra: { [EXTRA]: ["node-1", "node-2"] } }],
    ["the agent of another node", { extra: { [EXTRA]: ["node-2"] } }],
    ["a node of no name", { extra: { [EXTRA]: [""] }, request: pemFor("") }],
    ["a name that is two", { extra: { [EXTRA]: ["a\nCN=b"] }, request: pemFor("a\nCN=b") }],
    ["another node's name", { request: pemFor("node-2") }],
    ["another group", { request: pemFor("node-1", ["system:masters"]) }],
    ["one more group", { request: pemFor("node-1", [ORGANIZATION, "system:masters"]) }],
    ["no group", { request: pemFor("node-1", []) }],
    ["other usages", { usages: ["client auth"] }],
    ["more usages", { usages: [...TRANSFER_USAGES, "cert sign"] }],
    ["no usages", { usages: undefined }],
    ["no request", { request: base64("no request") }],
  ])("is denied: %s", (_, spec) => {
    expect(decide(spec)).toMatchObject({ type: "deny", why: expect.stringMatching(/./) });
    // Whoever approved it: it is not signed.
    expect(decide(spec, noted("Approved"))).toMatchObject({ type: "fail" });
  });

  test("is left alone: another signer's, and what is over", () => {
    expect(decide({ signerName: "kubernetes.io/kube-apiserver-client" })).toEqual({ type: "nothing" });
    expect(decide({}, noted("Denied"))).toEqual({ type: "nothing" });
    expect(decide({}, noted("Failed"))).toEqual({ type: "nothing" });
  });
});
