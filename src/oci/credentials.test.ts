import { expect, test } from "vitest";
import { CredentialsError, credentialsFor } from "./credentials.ts";

const auth = (pair: string) => ({ auth: Buffer.from(pair).toString("base64") });
const config = (auths: Record<string, object>) => JSON.stringify({ auths });

test.each([
  ["r.example", "r.example", ""],
  ["https://r.example", "r.example", "a"],
  ["https://r.example/v2/", "r.example", "a"],
  ["http://r.example:5000/", "r.example:5000", "a"],
  ["r.example/team", "r.example", "team/app"],
  ["https://index.docker.io/v1/", "docker.io", "library/redis"],
  ["registry-1.docker.io", "index.docker.io", "library/redis"],
  ["*.example", "r.example", "a"],
  ["r-*.example:5000", "r-1.example:5000", "a"],
])("an entry for %s counts for %s/%s", (key, address, repository) => {
  const found = credentialsFor(config({ [key]: auth("me:pass:word") }), address, repository);
  expect(found).toEqual({ username: "me", password: "pass:word" });
});

test.each([
  ["r.example", "r.example:5000", ""],
  ["r.example", "r.example.evil", ""],
  ["r.example/team", "r.example", "team-prod/app"],
  ["*.example", "a.b.example", ""],
  ["*", "r.example", ""],
])("an entry for %s does not count for %s/%s", (key, address, repository) => {
  expect(credentialsFor(config({ [key]: auth("me:pass") }), address, repository)).toBeUndefined();
});

test("the longest path counts, and a name before a pattern", () => {
  const text = config({
    "*.example": auth("pattern:1"),
    "r.example": auth("host:1"),
    "r.example/a": auth("short:1"),
    "r.example/a/b": auth("long:1"),
  });
  const whose = (repository: string) => credentialsFor(text, "r.example", repository)?.username;
  expect([whose("a/b/c"), whose("a/c"), whose("x")]).toEqual(["long", "short", "host"]);
});

test("user name and password may be given apart", () => {
  const text = config({ "r.example": { username: "me", password: "secret" } });
  expect(credentialsFor(text, "r.example")).toEqual({ username: "me", password: "secret" });
});

test.each([
  "secret",
  '{"auths":"secret"}',
  config({ "r.example": auth("secret") }),
  config({ "r.example": { identitytoken: "secret" } }),
])("what cannot be used is an error that shows nothing of it: %j", (text) => {
  const failing = () => credentialsFor(text, "r.example");
  expect(failing).toThrow(CredentialsError);
  expect(failing).not.toThrow(/secret/);
});
