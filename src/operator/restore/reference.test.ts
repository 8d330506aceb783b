import { describe, expect, it } from "vitest";
import { digestIn, equalReference } from "./reference.ts";

const D = `sha256:${"a".repeat(64)}`;
const E = `sha256:${"b".repeat(64)}`;

describe("an equal reference", () => {
  it.each([
    ["a tag gets the digest", "redis:7", `docker.io/library/redis@${D}`, `redis:7@${D}`],
    ["then the tag goes", `redis:7@${D}`, `docker.io/library/redis@${D}`, `redis@${D}`],
    ["then another comes", `redis@${D}`, `docker.io/library/redis@${D}`, `redis:restored@${D}`],
    ["and goes again", `redis:restored@${D}`, `docker.io/library/redis@${D}`, `redis@${D}`],
    ["no tag at all", "redis", `docker.io/library/redis@${D}`, `redis@${D}`],
    ["a registry with a port", "reg:5000/team/app:1", `reg:5000/team/app@${D}`, `reg:5000/team/app:1@${D}`],
    ["a port and no tag", "reg:5000/team/app", `reg:5000/team/app@${D}`, `reg:5000/team/app@${D}`],
    ["what the runtime calls otherwise", "mine/app:1", `reg/other@${D}`, `docker.io/reg/other:1@${D}`],
    ["another digest than what runs", `redis:7@${E}`, `docker.io/library/redis@${D}`, `redis:7@${D}`],
    [
      "an old name of Docker Hub",
      "index.docker.io/library/redis:7",
      `docker.io/library/redis@${D}`,
      `index.docker.io/library/redis:7@${D}`,
    ],
    ["no digest of a repository", "redis:7", D, undefined],
    ["no image ID yet", "redis:7", "", undefined],
    ["a tag where a digest should be", "redis:7", "docker.io/library/redis:7", undefined],
    ["no reference", "redis:7", "Not An Image", undefined],
  ])("%s", (_, image, imageID, expected) => {
    expect(equalReference(image, imageID)).toBe(expected);
    expect(expected).not.toBe(image);
  });
});

it("a digest is read from an ID or a reference", () => {
  expect(digestIn(`docker.io/library/redis@${D}`)).toBe(D);
  expect(digestIn(D)).toBe(D);
  expect(digestIn("redis:7")).toBeUndefined();
  expect(digestIn(undefined)).toBeUndefined();
});
