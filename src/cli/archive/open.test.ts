import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chdir, cwd } from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { placeOf } from "./open.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-open-"));
  await writeFile(join(directory, "here.tar"), "");
});
afterAll(() => rm(directory, { recursive: true }));

describe("what names a checkpoint", () => {
  const digest = `sha256:${"a".repeat(64)}`;
  it.each([
    ["redis-0-1767225600", { type: "object", name: "redis-0-1767225600" }],
    ["checkpoint/redis-0", { type: "object", name: "redis-0" }],
    ["checkpoints.checkpoint-restore.kcr.io/redis-0", { type: "object", name: "redis-0" }],
    [`r.example/kcr/redis@${digest}`, { type: "image", reference: `r.example/kcr/redis@${digest}` }],
    ["./not-there.tar", { type: "file", path: "./not-there.tar" }],
    ["/var/x/checkpoint-a.tar", { type: "file", path: "/var/x/checkpoint-a.tar" }],
  ])("%s", async (text, place) => {
    expect(await placeOf(text)).toEqual(place);
  });

  it("is a file wherever there is one of that name", async () => {
    const before = cwd();
    chdir(directory);
    try {
      expect(await placeOf("here.tar")).toEqual({ type: "file", path: "here.tar" });
    } finally {
      chdir(before);
    }
  });
});
