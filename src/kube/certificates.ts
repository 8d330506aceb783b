import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from "node:crypto";
import { isIPv4 } from "node:net";

/**
 * Node makes keys and signatures but no certificates, so their ASN.1 is written here: X.509 v3 as in RFC 5280, ECDSA
 * on P-256 with SHA-256, nothing else.
 */

/** A certificate and its private key, both in PEM. */
export interface KeyPair {
  cert: string;
  key: string;
}

/** Whom a certificate names. For Kubernetes the common name is the user, each organization a group. */
export interface Subject {
  commonName: string;
  organizations?: readonly string[];
  /** DNS names and IPv4 addresses a server answers to. */
  names?: readonly string[];
}

/** What a certificate says of itself besides whom it names. */
export interface Validity {
  notBefore: Date;
  notAfter: Date;
  /** A positive number of at most 20 bytes (RFC 5280, 4.1.2.2); random unless said. */
  serial?: bigint;
}

const DAY_MS = 86_400_000;
/** Clocks differ: a certificate is valid a while before it is made. */
const SKEW_MS = 3_600_000;

/** Valid for so many days from `now`, and an hour before it for those whose clock is behind. */
export const validFor = (days: number, now: Date = new Date()): Validity => ({
  notBefore: new Date(now.getTime() - SKEW_MS),
  notAfter: new Date(now.getTime() + days * DAY_MS),
});

function tlv(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const hex = body.length.toString(16);
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body]);
}

const sequence = (...items: Buffer[]) => tlv(0x30, ...items);
const set = (...items: Buffer[]) => tlv(0x31, ...items);
const integer = (bytes: Buffer) => tlv(0x02, bytes);
const boolean = (value: boolean) => tlv(0x01, Buffer.from([value ? 0xff : 0]));
const octets = (content: Buffer) => tlv(0x04, content);
const utf8 = (text: string) => tlv(0x0c, Buffer.from(text));
const bits = (content: Buffer, unused = 0) => tlv(0x03, Buffer.from([unused]), content);

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let more = arc >>> 7; more > 0; more >>>= 7) groups.unshift((more & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tlv(0x06, Buffer.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5). */
function time(date: Date): Buffer {
  const digits = `${date.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
  return date.getUTCFullYear() < 2050
    ? tlv(0x17, Buffer.from(digits.slice(2)))
    : tlv(0x18, Buffer.from(digits));
}

const COMMON_NAME = "2.5.4.3";
const ORGANIZATION_NAME = "2.5.4.10";

function distinguishedName({ commonName, organizations = [] }: Subject): Buffer {
  const attribute = (type: string, value: string) => set(sequence(oid(type), utf8(value)));
  return sequence(
    ...organizations.map((organization) => attribute(ORGANIZATION_NAME, organization)),
    attribute(COMMON_NAME, commonName),
  );
}

function extension(type: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(type), ...(critical ? [boolean(true)] : []), octets(value));
}

const ecdsaWithSha256 = sequence(oid("1.2.840.10045.4.3.2"));
const basicConstraints = (ca: boolean) =>
  extension("2.5.29.19", true, sequence(...(ca ? [boolean(true)] : [])));
/** Bits are numbered from the left: digitalSignature is 0, keyCertSign 5, cRLSign 6. */
const keyUsage = (ca: boolean) =>
  extension("2.5.29.15", true, ca ? bits(Buffer.from([0b00000110]), 1) : bits(Buffer.from([0b10000000]), 7));
const forServersAndClients = extension(
  "2.5.29.37",
  false,
  sequence(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.2")),
);

function alternativeNames(names: readonly string[]): Buffer {
  const general = names.map((name) =>
    isIPv4(name) ? tlv(0x87, Buffer.from(name.split(".").map(Number))) : tlv(0x82, Buffer.from(name)),
  );
  return extension("2.5.29.17", false, sequence(...general));
}

const keyId = (publicKey: KeyObject) =>
  createHash("sha1")
    .update(publicKey.export({ format: "der", type: "spki" }))
    .digest();

function pem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

function serialNumber(chosen: bigint | undefined): Buffer {
  if (chosen === undefined) {
    const random = randomBytes(16);
    random[0] = (random[0]! & 0x7f) | 0x01; // positive, and of full length
    return random;
  }
  const hex = chosen.toString(16);
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex");
  if (chosen <= 0n || bytes.length > 19) throw new RangeError(`${chosen} is no serial number`);
  // A leading bit would make it negative.
  return bytes[0]! & 0x80 ? Buffer.concat([Buffer.alloc(1), bytes]) : bytes;
}

function certificate(
  subject: Subject,
  publicKey: KeyObject,
  issuer: { name: Buffer; key: KeyObject },
  validity: Validity,
  ca: boolean,
) {
  const extensions = [
    basicConstraints(ca),
    keyUsage(ca),
    extension("2.5.29.14", false, octets(keyId(publicKey))),
    extension("2.5.29.35", false, sequence(tlv(0x80, keyId(createPublicKey(issuer.key))))),
    ...(ca ? [] : [forServersAndClients]),
    ...(subject.names?.length ? [alternativeNames(subject.names)] : []),
  ];
  const toBeSigned = sequence(
    tlv(0xa0, integer(Buffer.from([2]))),
    integer(serialNumber(validity.serial)),
    ecdsaWithSha256,
    issuer.name,
    sequence(time(validity.notBefore), time(validity.notAfter)),
    distinguishedName(subject),
    publicKey.export({ format: "der", type: "spki" }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign("sha256", toBeSigned, issuer.key);
  return pem("CERTIFICATE", sequence(toBeSigned, ecdsaWithSha256, bits(signature)));
}

/** A private key on P-256 and its public half, in PEM: what service account tokens are signed with. */
export function createKey(): { key: string; publicKey: string } {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    key: pair.privateKey.export({ format: "pem", type: "sec1" }).toString(),
    publicKey: pair.publicKey.export({ format: "pem", type: "spki" }).toString(),
  };
}

/** A certificate authority: it signs itself. */
export function createAuthority(commonName: string, validity: Validity): KeyPair {
  const { key, publicKey } = createKey();
  const issuer = { name: distinguishedName({ commonName }), key: createPrivateKey(key) };
  return { key, cert: certificate({ commonName }, createPublicKey(publicKey), issuer, validity, true) };
}

/**
 * A certificate signed by an authority of `createAuthority`, for servers and clients alike.
 *
 * Errors: whatever node:crypto says of a key or certificate it cannot read.
 */
export function issue(authority: KeyPair, subject: Subject, validity: Validity): KeyPair {
  const { key, publicKey } = createKey();
  return { key, cert: certify(authority, subject, createPublicKey(publicKey), validity) };
}

/** As {@link issue}, for a key that someone else has. */
export function certify(
  authority: KeyPair,
  subject: Subject,
  publicKey: KeyObject,
  validity: Validity,
): string {
  const commonName = /^CN=(.*)$/m.exec(new X509Certificate(authority.cert).subject)?.[1] ?? "";
  const issuer = { name: distinguishedName({ commonName }), key: createPrivateKey(authority.key) };
  return certificate(subject, publicKey, issuer, validity, false);
}

/** A key and a request (PKCS #10, RFC 2986) for a certificate of that name for it, both in PEM. */
export function createRequest(subject: Omit<Subject, "names">): { request: string; key: string } {
  const { key, publicKey } = createKey();
  const info = sequence(
    integer(Buffer.from([0])),
    distinguishedName(subject),
    createPublicKey(publicKey).export({ format: "der", type: "spki" }),
    tlv(0xa0),
  );
  const signature = sign("sha256", info, createPrivateKey(key));
  return { key, request: pem("CERTIFICATE REQUEST", sequence(info, ecdsaWithSha256, bits(signature))) };
}

/** What is asked for in a request, by someone who has the key. */
export interface ParsedRequest {
  subject: Required<Omit<Subject, "names">>;
  publicKey: KeyObject;
}

/**
 * Reads a request such as {@link createRequest} makes, and checks that whoever made it has the key.
 *
 * Errors: a TypeError for anything else, also one that asks for more than a name: another kind of key, extensions,
 * other attributes, two names.
 */
export function parseRequest(text: string): ParsedRequest {
  const refuse = (why: string): never => {
    throw new TypeError(`no request for a certificate that can be issued: ${why}`);
  };
  const blocks = pemBlocks(text);
  const body = /^-----BEGIN CERTIFICATE REQUEST-----\n([A-Za-z0-9+/=\s]+)-----END/.exec(blocks[0] ?? "")?.[1];
  if (blocks.length !== 1 || body === undefined) return refuse("not one request in PEM");
  const [request, ...after] = elements(Buffer.from(body, "base64"));
  if (request?.tag !== 0x30 || after.length > 0) return refuse("not one sequence");
  const [info, algorithm, signature, ...more] = elements(request.content);
  if (info?.tag !== 0x30 || signature?.tag !== 0x03 || signature.content[0] !== 0 || more.length > 0) {
    return refuse("not a body and a signature");
  }
  if (!algorithm?.whole.equals(ecdsaWithSha256)) return refuse("not signed by ECDSA with SHA-256");
  const [version, name, spki, attributes, ...rest] = elements(info.content);
  if (!version?.whole.equals(integer(Buffer.from([0])))) return refuse("not of version 1");
  if (name?.tag !== 0x30 || spki?.tag !== 0x30 || rest.length > 0) return refuse("no name and key");
  if (attributes?.tag !== 0xa0 || attributes.content.length > 0) return refuse("more than a name");
  const publicKey = publicKeyOf(spki.whole);
  if (publicKey?.asymmetricKeyDetails?.namedCurve !== "prime256v1") return refuse("no key on P-256");
  if (!verify("sha256", info.whole, publicKey, signature.content.subarray(1))) {
    return refuse("signed by another key");
  }
  const attributeValues = elements(name.content).map(attributeOf);
  const commonNames = attributeValues.flatMap((found) => (found?.type === "CN" ? [found.value] : []));
  const organizations = attributeValues.flatMap((found) => (found?.type === "O" ? [found.value] : []));
  const [commonName] = commonNames;
  if (commonName === undefined || commonNames.length + organizations.length !== attributeValues.length) {
    return refuse("a name of other parts than organizations and one common name");
  }
  return commonNames.length === 1
    ? { subject: { commonName, organizations }, publicKey }
    : refuse("two common names");
}

function publicKeyOf(spki: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

interface Element {
  tag: number;
  content: Buffer;
  /** With its tag and length. */
  whole: Buffer;
}

/** The elements that follow each other in DER (X.690, 10.1). Errors: a TypeError for what is none. */
function elements(der: Buffer): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < der.length; ) {
    const tag = der[at]!;
    const first = der[at + 1] ?? 0xff;
    const digits = first < 0x80 ? 0 : first & 0x7f;
    const start = at + 2 + digits;
    if ((tag & 0x1f) === 0x1f || (first >= 0x80 && (digits === 0 || digits > 3)) || start > der.length) {
      throw new TypeError("no DER");
    }
    const length = digits === 0 ? first : der.readUIntBE(at + 2, digits);
    const isShortest = digits === 0 || length >= (digits === 1 ? 0x80 : 2 ** (8 * (digits - 1)));
    if (!isShortest || start + length > der.length) throw new TypeError("no DER");
    found.push({
      tag,
      content: der.subarray(start, start + length),
      whole: der.subarray(at, start + length),
    });
    at = start + length;
  }
  return found;
}

/** One part of a name, where it is one that {@link distinguishedName} writes. */
function attributeOf({ tag, content }: Element): { type: "CN" | "O"; value: string } | undefined {
  const [pair, ...others] = tag === 0x31 ? elements(content) : [];
  const [type, value, ...more] = pair?.tag === 0x30 ? elements(pair.content) : [];
  if (type === undefined || value?.tag !== 0x0c || others.length + more.length > 0) return undefined;
  const known = (
    [
      ["CN", COMMON_NAME],
      ["O", ORGANIZATION_NAME],
    ] as const
  ).find(([, dotted]) => type.whole.equals(oid(dotted)));
  return known && { type: known[0], value: value.content.toString() };
}

/** What a certificate says of its lifetime. Errors: node:crypto's, for what is no certificate. */
export function validityOf(cert: string): Required<Validity> {
  const { validFromDate, validToDate, serialNumber } = new X509Certificate(cert);
  return { notBefore: validFromDate, notAfter: validToDate, serial: BigInt(`0x${serialNumber}`) };
}

/** Whether the authority signed the certificate, by its key and not by its name. */
export function isIssuedBy(cert: string, authority: string): boolean {
  const issuer = new X509Certificate(authority);
  const issued = new X509Certificate(cert);
  return issued.checkIssued(issuer) && issued.verify(issuer.publicKey);
}

/** The blocks of a PEM file, each with its own end of line. */
export const pemBlocks = (text: string): string[] =>
  text.match(/-----BEGIN ([A-Z ]+)-----[A-Za-z0-9+/=\s]+-----END \1-----\n?/g) ?? [];
