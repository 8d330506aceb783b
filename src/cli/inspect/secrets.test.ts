import { describe, expect, it } from "vitest";
import { MASK, masked, variableOf } from "./secrets.ts";

const shown = (text: string) => masked(variableOf(text));

describe("a variable that looks like a secret", () => {
  it.each([
    ...["PASSWORD=x", "DB_PASSWD=x", "PGPASSWORD=x", "MYSQL_ROOT_PASSWORD=x", "REDIS_PASS=x", "passphrase=x"],
    ...["API_KEY=x", "APIKEY=x", "AWS_SECRET_ACCESS_KEY=x", "GITHUB_TOKEN=x", "SECRET=x", "CLIENT_SECRET=x"],
    ...["BASIC_AUTH=x", "SESSION_COOKIE=x", "SENTRY_DSN=x", "PRIVATE=x", "TLS_KEY=x", "AZURE_ACCOUNT_KEY=x"],
    ...[
      "X=-----BEGIN RSA PRIVATE KEY-----",
      "X=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x",
      "X=ghp_0123",
      "X=AKIA01",
    ],
  ])("%s is masked", (text) => {
    expect(shown(text)).toEqual({ name: text.slice(0, text.indexOf("=")), value: MASK, masked: true });
  });

  it("keeps of an address all but the password", () => {
    expect(shown("URL=postgres://me:pw@db:5432/x").value).toBe(`postgres://me:${MASK}@db:5432/x`);
    expect(shown("URLS=amqp://a:b@x,amqp://c:d@y").value).toBe(`amqp://a:${MASK}@x,amqp://c:${MASK}@y`);
    expect(shown("URL=https://example.com:80/a@b")).toEqual({
      name: "URL",
      value: "https://example.com:80/a@b",
    });
  });

  it.each([
    "PATH=/bin",
    "HOME=/root",
    "AUTHOR=me",
    "KEYBOARD=de",
    "COMPASS=north",
    "PASSENGERS=3",
    "PASSWORD=",
  ])("%s is not", (text) => {
    expect(shown(text).masked).toBeUndefined();
  });

  it("takes no time, however long it is", () => {
    for (const piece of ["a", "a:", "a://", "a://b:", "-----BEGIN A", "eyJ-"]) {
      expect(shown(`X=${piece.repeat(200_000)}`).value).toContain(piece);
    }
  });

  it("may have no value at all, or more than one =", () => {
    expect(variableOf("A")).toEqual({ name: "A", value: "" });
    expect(variableOf("A=b=c")).toEqual({ name: "A", value: "b=c" });
  });
});
