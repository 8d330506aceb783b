import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";
import { PUBLIC_KEY } from "./download.ts";

/*
 * How the token of a CheckpointDownload is sealed for the key in its spec:
 *
 *   text  = "v1:" base64url( E || C || T )       32, 32 and 16 bytes
 *   E     = public key of an X25519 pair that is made for this text alone and forgotten
 *   K, N  = HKDF-SHA256( secret: X25519(that pair, R), salt: E || R, info: "kcr.io download token v1" ), 32 and 12 bytes
 *   C, T  = AES-256-GCM( key K, nonce N, additional data: "<namespace>/<name>/<UID>" of the object, text: the token )
 *   R     = the key in the spec
 *
 * A token is 32 random bytes, shown in base64url; who checks it knows the sha256 of that text. X25519 is that of RFC
 * 7748, HKDF that of RFC 5869.
 */

const VERSION = "v1:";
const INFO = "kcr.io download token v1";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const TOKEN_BYTES = 32;

/** The object whose token it is: what is sealed for one opens nothing as another's. */
export interface TokenOwner {
  namespace?: string;
  name: string;
  uid?: string;
}

/** A key pair of a caller's: the text for the spec, and what opens the token. */
export interface TokenKey {
  publicKey: string;
  privateKey: KeyObject;
}

export function createTokenKey(): TokenKey {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  return { publicKey: `x25519:${rawOf(publicKey).toString("base64url")}`, privateKey };
}

export const createToken = (): string => randomBytes(TOKEN_BYTES).toString("base64url");

export const hashToken = (token: string): string => createHash("sha256").update(token).digest("hex");

/** Whether that is the token with that hash, in a time that says nothing of where they differ. */
export function isToken(token: string, hash: string | undefined): boolean {
  const known = Buffer.from(hash ?? "", "hex");
  const given = createHash("sha256").update(token).digest();
  // Compared with something in any case.
  const isEqual = timingSafeEqual(given, known.length === given.length ? known : Buffer.alloc(given.length));
  return isEqual && known.length === given.length;
}

/** Errors: a TypeError for a text that is no key, or a key that agrees with everybody on the same secret. */
export function sealToken(token: string, publicKey: string, owner: TokenOwner): string {
  const recipient = parsePublicKey(publicKey);
  const ephemeral = generateKeyPairSync("x25519");
  const sent = rawOf(ephemeral.publicKey);
  const { key, nonce } = derive(ephemeral.privateKey, recipient, sent, rawOf(recipient));
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(nameOf(owner));
  const sealed = Buffer.concat([
    sent,
    cipher.update(token, "base64url"),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  return `${VERSION}${sealed.toString("base64url")}`;
}

/** Errors: a TypeError for what was not sealed for this key and this object, or was changed. */
export function openToken(sealed: string, { publicKey, privateKey }: TokenKey, owner: TokenOwner): string {
  const bytes = Buffer.from(sealed.startsWith(VERSION) ? sealed.slice(VERSION.length) : "", "base64url");
  if (bytes.length !== KEY_BYTES + TOKEN_BYTES + TAG_BYTES) throw new TypeError("this is no sealed token");
  const [sent, content, tag] = [
    bytes.subarray(0, KEY_BYTES),
    bytes.subarray(KEY_BYTES, -TAG_BYTES),
    bytes.subarray(-TAG_BYTES),
  ];
  try {
    const { key, nonce } = derive(privateKey, publicOf(sent), sent, rawOf(parsePublicKey(publicKey)));
    const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(nameOf(owner)).setAuthTag(tag);
    return Buffer.concat([decipher.update(content), decipher.final()]).toString("base64url");
  } catch (cause) {
    throw new TypeError("the token was sealed for another key, or for another object", { cause });
  }
}

function parsePublicKey(text: string): KeyObject {
  if (!PUBLIC_KEY.test(text)) throw new TypeError(`${JSON.stringify(text.slice(0, 80))} is no public key`);
  return publicOf(Buffer.from(text.slice("x25519:".length), "base64url"));
}

function derive(privateKey: KeyObject, publicKey: KeyObject, sent: Buffer, recipient: Buffer) {
  let secret: Buffer;
  try {
    secret = diffieHellman({ privateKey, publicKey });
  } catch (cause) {
    throw new TypeError("a public key that keeps no secret", { cause });
  }
  const salt = Buffer.concat([sent, recipient]);
  const derived = Buffer.from(hkdfSync("sha256", secret, salt, INFO, KEY_BYTES + NONCE_BYTES));
  return { key: derived.subarray(0, KEY_BYTES), nonce: derived.subarray(KEY_BYTES) };
}

const nameOf = ({ namespace, name, uid }: TokenOwner): Buffer => Buffer.from(`${namespace}/${name}/${uid}`);

const publicOf = (raw: Buffer): KeyObject =>
  createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "X25519", x: raw.toString("base64url") } });

const rawOf = (key: KeyObject): Buffer => Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url");
