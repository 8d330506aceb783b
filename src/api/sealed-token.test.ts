import { describe, expect, it } from "vitest";
import { PUBLIC_KEY } from "./download.ts";
import { createToken, createTokenKey, hashToken, isToken, openToken, sealToken } from "./sealed-token.ts";

const owner = { namespace: "shop", name: "d1", uid: "6f0e" };

describe("a token", () => {
  it("is read with the key that it was sealed for, of the object that it was sealed for", () => {
    const key = createTokenKey();
    const token = createToken();
    expect(key.publicKey).toMatch(PUBLIC_KEY);
    const sealed = sealToken(token, key.publicKey, owner);
    expect(openToken(sealed, key, owner)).toBe(token);
    expect(sealed).not.toContain(token);
    expect(sealToken(token, key.publicKey, owner)).not.toBe(sealed);
  });

  it("is not read with another key, nor as another object's", () => {
    const [key, other] = [createTokenKey(), createTokenKey()];
    const sealed = sealToken(createToken(), key.publicKey, owner);
    expect(() => openToken(sealed, other, owner)).toThrow("another key");
    expect(() => openToken(sealed, { ...other, publicKey: key.publicKey }, owner)).toThrow("another key");
    for (const more of [{ namespace: "bank" }, { name: "d2" }, { uid: "6f0f" }]) {
      expect(() => openToken(sealed, key, { ...owner, ...more })).toThrow("another object");
    }
  });

  it("is not read when a bit of it is another, wherever", () => {
    const key = createTokenKey();
    const sealed = sealToken(createToken(), key.publicKey, owner);
    const bytes = Buffer.from(sealed.slice(3), "base64url");
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      expect(() => openToken(`v1:${changed.toString("base64url")}`, key, owner)).toThrow(TypeError);
    }
    for (const text of [
      "",
      "v1:",
      sealed.slice(3),
      `v2:${sealed.slice(3)}`,
      sealed.slice(0, -2),
      `${sealed}AA`,
    ]) {
      expect(() => openToken(text, key, owner)).toThrow("no sealed token");
    }
  });

  it("is not sealed for what is no key, nor for one that keeps no secret", () => {
    for (const text of ["", "x25519:", "p256:AAAA", `x25519:${"A".repeat(44)}`]) {
      expect(() => sealToken(createToken(), text, owner)).toThrow("no public key");
    }
    expect(() => sealToken(createToken(), `x25519:${"A".repeat(43)}`, owner)).toThrow("keeps no secret");
  });

  it("is known by its hash", () => {
    const [token, other] = [createToken(), createToken()];
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(isToken(token, hashToken(token))).toBe(true);
    for (const [text, hash] of [
      [other, hashToken(token)],
      ["", hashToken(token)],
      [token, undefined],
      [token, ""],
      [token, hashToken(token).slice(2)],
      [token, "0".repeat(64)],
    ] as const) {
      expect(isToken(text, hash)).toBe(false);
    }
  });
});
