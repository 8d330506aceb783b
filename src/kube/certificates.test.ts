import { createPrivateKey, X509Certificate } from "node:crypto";
import { connect, createServer } from "node:tls";
import { expect, test } from "vitest";
import type { KeyPair, Subject } from "./certificates.ts";
import {
  createAuthority,
  isIssuedBy,
  issue as issueFor,
  pemBlocks,
  validFor,
  validityOf,
} from "./certificates.ts";

const year = validFor(365);
const issue = (by: KeyPair, subject: Subject) => issueFor(by, subject, year);
const authority = createAuthority("test ca", year);

test("an authority signs itself and may sign others", () => {
  const cert = new X509Certificate(authority.cert);
  expect(cert.ca).toBe(true);
  expect(cert.verify(cert.publicKey)).toBe(true);
  expect(cert.checkPrivateKey(createPrivateKey(authority.key))).toBe(true);
});

test("a certificate names its subject, its groups and its addresses", () => {
  const names = [
    "kubernetes.default.svc",
    "10.0.0.1",
    ...Array.from({ length: 20 }, (_, i) => `name-${i}.example`),
  ];
  const { cert, key } = issue(authority, {
    commonName: "system:node:a",
    organizations: ["system:nodes"],
    names,
  });
  const parsed = new X509Certificate(cert);
  expect(parsed.subject).toBe("O=system:nodes\nCN=system:node:a");
  expect(parsed.ca).toBe(false);
  expect(parsed.checkIssued(new X509Certificate(authority.cert))).toBe(true);
  expect(parsed.verify(new X509Certificate(authority.cert).publicKey)).toBe(true);
  expect(parsed.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(parsed.checkIP("10.0.0.1")).toBe("10.0.0.1");
  expect(parsed.checkHost("name-19.example")).toBe("name-19.example");
  expect(parsed.checkHost("other.example")).toBeUndefined();
});

test("a certificate lives as long as it was made for, in this century's form of time and the later one", () => {
  const notBefore = new Date("2049-12-31T23:59:58Z");
  const notAfter = new Date("2050-06-01T12:00:00Z");
  for (const serial of [1n, 0x7fn, 0x80n, 0xdeadbeefn, 2n ** 151n + 5n]) {
    const { cert } = issueFor(authority, { commonName: "x" }, { notBefore, notAfter, serial });
    expect(validityOf(cert)).toEqual({ notBefore, notAfter, serial });
  }
  for (const serial of [0n, -1n, 2n ** 160n]) {
    expect(() => issueFor(authority, { commonName: "x" }, { notBefore, notAfter, serial })).toThrow(
      RangeError,
    );
  }
  const [a, b] = [issue(authority, { commonName: "x" }), issue(authority, { commonName: "x" })];
  expect(validityOf(a.cert).serial).not.toBe(validityOf(b.cert).serial);
});

test("an authority is known by its key, whatever its name", () => {
  const namesake = createAuthority("test ca", year);
  const { cert } = issue(authority, { commonName: "x" });
  expect(isIssuedBy(cert, authority.cert)).toBe(true);
  expect(isIssuedBy(cert, namesake.cert)).toBe(false);
  expect(pemBlocks(`${authority.cert}text between\n${namesake.cert}`)).toEqual([
    authority.cert,
    namesake.cert,
  ]);
  expect(pemBlocks("no certificate")).toEqual([]);
});

test("TLS refuses a certificate that has expired", async () => {
  const day = 86_400_000;
  const now = Date.now();
  const expired = { notBefore: new Date(now - 2 * day), notAfter: new Date(now - day) };
  const server = createServer(issueFor(authority, { commonName: "server", names: ["127.0.0.1"] }, expired));
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    const { port } = server.address() as { port: number };
    const refused = new Promise((resolve) => {
      const socket = connect({ port, host: "127.0.0.1", ca: authority.cert });
      socket.on("secureConnect", () => resolve("accepted"));
      socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    expect(await refused).toBe("CERT_HAS_EXPIRED");
  } finally {
    server.close();
  }
});

test("TLS accepts it for server and client, and refuses another authority's", async () => {
  const client = issue(authority, { commonName: "admin", organizations: ["system:masters"] });
  const stranger = issue(createAuthority("test ca", year), { commonName: "admin" });
  const server = createServer({
    ...issue(authority, { commonName: "server", names: ["127.0.0.1"] }),
    ca: authority.cert,
    requestCert: true,
    rejectUnauthorized: true,
  });
  server.on("secureConnection", (socket) => socket.end(String(socket.getPeerCertificate().subject.CN)));
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const hello = (pair: { cert: string; key: string }) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", ca: authority.cert, ...pair });
      let said = "";
      socket.on("data", (chunk) => {
        said += chunk;
      });
      socket.on("end", () => resolve(said));
      socket.on("error", reject);
    });
  try {
    expect(await hello(client)).toBe("admin");
    expect(await hello(stranger).catch(() => "refused")).not.toBe("admin");
  } finally {
    server.close();
  }
});
