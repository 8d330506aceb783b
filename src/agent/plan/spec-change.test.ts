import { describe, expect, it } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { specHash } from "../../api/spec-hash.ts";
import { changeSince, differences } from "./spec-change.ts";

const dumped = {
  process: {
    args: ["/entry", "serve", "--port=80"],
    env: ["PATH=/bin", "MODE=fast", "EMPTY=", "URL=http://a?b=c"],
  },
  mounts: [
    { destination: "/proc", type: "proc" },
    { destination: "/etc/hosts", type: "bind" },
    { destination: "/data", type: "bind", options: ["rbind", "rw"] },
  ],
};
const same = {
  name: "app",
  env: [{ name: "MODE", value: "fast" }, { name: "EMPTY" }, { name: "URL", value: "http://a?b=c" }],
  volumeMounts: [{ name: "data", mountPath: "/data/" }],
};

describe("what a pod gives its container otherwise", () => {
  it("is nothing when all is as it was", () => {
    expect(differences(same, dumped)).toEqual([]);
    expect(differences({ ...same, command: ["/entry", "serve"], args: ["--port=80"] }, dumped)).toEqual([]);
    expect(differences({ ...same, args: ["serve", "--port=80"] }, dumped)).toEqual([]);
  });

  it.each<[string, object, string[]]>([
    ["an argument", { args: ["serve", "--port=81"] }, ["command"]],
    ["a command whose image's arguments no longer count", { command: ["/entry"] }, ["command"]],
    ["a variable's value", { env: [{ name: "MODE", value: "secret" }] }, ["environment variable MODE"]],
    ["a new variable", { env: [{ name: "NEW", value: "secret" }] }, ["environment variable NEW"]],
    [
      "a new variable from a Secret",
      { env: [{ name: "KEY", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }] },
      ["environment variable KEY"],
    ],
    ["a mount that is no more", { volumeMounts: [] }, ["mount /data"]],
    ["a new mount", { volumeMounts: [...same.volumeMounts, { name: "x", mountPath: "/x" }] }, ["mount /x"]],
  ])("names %s, and no value", (_, change, names) => {
    expect(differences({ ...same, ...change }, dumped)).toEqual(names);
  });

  it("does not judge what the kubelet makes of other variables", () => {
    const expanded = { ...same, command: ["$(MODE)"], env: [{ name: "MODE", value: "$(OTHER)" }] };
    expect(differences(expanded, dumped)).toEqual([]);
  });
});

describe("a container since a Checkpoint", () => {
  const digest = (digit: string) => `app@sha256:${digit.repeat(64)}`;
  const taken = {
    status: { baseImage: "app:1", baseImageDigest: digest("1"), specHash: specHash(same, "app:1") },
  } as Checkpoint;
  const since = (change: object, imageID = digest("1")) =>
    changeSince(taken, { ...same, image: "app:1", ...change }, { name: "app", imageID } as never);

  it("is the same under another name of the same image", () => {
    expect(since({})).toEqual({ image: false, given: false });
    expect(since({ image: digest("1") })).toEqual({ image: false, given: false });
  });

  it("has another image, or is given something else", () => {
    expect(since({ image: "app:2" }, digest("2"))).toEqual({ image: true, given: false });
    expect(since({ env: [] })).toEqual({ image: false, given: true });
  });
});
