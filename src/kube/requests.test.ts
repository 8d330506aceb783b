import { execFileSync } from "node:child_process";
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { ensurePackages } from "../../cluster/debian.ts";
import {
  certify,
  createAuthority,
  createRequest,
  isIssuedBy,
  parseRequest,
  validFor,
  validityOf,
} from "./certificates.ts";

const subject = { commonName: "node-1.example", organizations: ["kcr.io:agents"] };
const derOf = (pem: string): Buffer => Buffer.from(pem.replaceAll(/-----.*-----|\s/g, ""), "base64");
const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
const openssl = (input: string, ...args: string[]): string =>
  execFileSync("openssl", args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });

beforeAll(() => ensurePackages(["openssl"]), 300_000);

test("a request names its subject, and its key is certified", () => {
  const { request, key } = createRequest(subject);
  const parsed = parseRequest(request);
  expect(parsed.subject).toEqual(subject);
  const authority = createAuthority("test", validFor(1));
  const cert = certify(authority, parsed.subject, parsed.publicKey, validFor(1));
  const certificate = new X509Certificate(cert);
  expect(certificate.subject).toBe("O=kcr.io:agents\nCN=node-1.example");
  expect(certificate.ca).toBe(false);
  expect(certificate.checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(isIssuedBy(cert, authority.cert)).toBe(true);
  expect(validityOf(cert).notAfter.getTime()).toBeGreaterThan(Date.now());
});

test("others read the same in it", () => {
  const { request } = createRequest({ commonName: "node-1", organizations: ["a", "b"] });
  const text = openssl(request, "req", "-noout", "-verify", "-subject", "-text");
  expect(text).toMatch(/subject=O ?= ?a, O ?= ?b, CN ?= ?node-1/);
  expect(text).toContain("prime256v1");
});

test("long names are read as they are written", () => {
  for (const length of [1, 63, 120, 127, 128, 200, 253, 300, 70_000]) {
    const long = { commonName: "x".repeat(length), organizations: [] };
    expect(parseRequest(createRequest(long).request).subject).toEqual(long);
  }
});

test("a request that was made by others is read, and refused where it asks for more than a name", () => {
  const make = (...args: string[]) =>
    openssl("", "req", "-new", "-nodes", "-keyout", "/dev/null", "-utf8", ...args);
  const p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  expect(parseRequest(make(...p256, "-subj", "/O=g/CN=n")).subject).toEqual({
    commonName: "n",
    organizations: ["g"],
  });
  for (const [args, why] of [
    [[...p256, "-subj", "/O=g"], "a name of other parts"],
    [[...p256, "-subj", "/CN=a/CN=b"], "two common names"],
    [[...p256, "-subj", "/CN=a/OU=b"], "a name of other parts"],
    [[...p256, "-subj", "/CN=a+O=b", "-multivalue-rdn"], "a name of other parts"],
    [[...p256, "-subj", "/CN=a", "-addext", "subjectAltName=DNS:b"], "more than a name"],
    [["-newkey", "rsa:2048", "-subj", "/CN=a"], "not signed by ECDSA"],
    [["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-subj", "/CN=a"], "no key on P-256"],
    [[...p256, "-sha512", "-subj", "/CN=a"], "not signed by ECDSA"],
  ] as const) {
    expect(() => parseRequest(make(...args)), args.join(" ")).toThrow(why);
  }
});

test("a request that was signed by another key is refused", () => {
  const der = derOf(createRequest(subject).request);
  const other = derOf(createRequest({ ...subject, commonName: "node-2.example" }).request);
  // What comes before the key and the signature is of the one, the rest of the other.
  const mixed = Buffer.concat([der.subarray(0, 70), other.subarray(70)]);
  expect(() => parseRequest(pemOf(mixed))).toThrow(TypeError);
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  expect(createPublicKey(privateKey).asymmetricKeyType).toBe("ec");
  const infoLength = 3 + der[5]!;
  const info = der.subarray(3, 3 + infoLength);
  const signature = sign("sha256", info, privateKey);
  const rest = der.subarray(3 + infoLength, 3 + infoLength + 12);
  const body = Buffer.concat([info, rest, Buffer.from([0x03, signature.length + 1, 0]), signature]);
  expect(() => parseRequest(pemOf(Buffer.concat([Buffer.from([0x30, 0x81, body.length]), body])))).toThrow(
    "signed by another key",
  );
});

test("anything else is refused with a TypeError, and nothing is read beyond its end", () => {
  const der = derOf(createRequest(subject).request);
  for (const text of [
    "",
    "no PEM",
    pemOf(Buffer.alloc(0)),
    pemOf(Buffer.from([0x30])),
    pemOf(Buffer.from([0x30, 0x80])),
  ]) {
    expect(() => parseRequest(text)).toThrow(TypeError);
  }
  const { request } = createRequest(subject);
  expect(() => parseRequest(request + request)).toThrow("not one request");
  expect(() => parseRequest(pemOf(Buffer.concat([der, Buffer.from([0x05, 0])])))).toThrow("not one sequence");
  for (let at = 0; at < der.length; at++) {
    expect(() => parseRequest(pemOf(der.subarray(0, at)))).toThrow(TypeError);
  }
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bad = Buffer.from(der);
      bad[at]! ^= change;
      expect(() => parseRequest(pemOf(bad))).toThrow(TypeError);
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(() => parseRequest(pemOf(Buffer.from(bytes)))).toThrow(TypeError);
    }),
  );
  expect(() => parseRequest(pemOf(randomBytes(100_000)))).toThrow(TypeError);
});
