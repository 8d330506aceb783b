import { createPrivateKey, X509Certificate } from "node:crypto";
import { connect, createServer } from "node:tls";
import { expect, test } from "vitest";
import { createAuthority, issue } from "./pki.ts";

const authority = createAuthority("test ca");

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
  expect(new Date(parsed.validTo).getFullYear()).toBeGreaterThan(new Date().getFullYear() + 8);
});

test("TLS accepts it for server and client, and refuses another authority's", async () => {
  const client = issue(authority, { commonName: "admin", organizations: ["system:masters"] });
  const stranger = issue(createAuthority("test ca"), { commonName: "admin" });
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
