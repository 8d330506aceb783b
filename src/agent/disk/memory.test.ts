import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { memoryOf } from "./memory.ts";

const ID = "4f1c".repeat(16);
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-cgroup-"));
});
afterEach(() => rm(root, { recursive: true }));

async function group(path: string, files: Record<string, string>): Promise<void> {
  await mkdir(join(root, path), { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(join(root, path, name), text);
}

test("is what the second version of control groups says is not cached from files", async () => {
  await group("kubepods.slice/kubepods-pod1.slice/other.scope", { "memory.stat": "anon 1\n" });
  await group(`kubepods.slice/kubepods-pod1.slice/cri-containerd-${ID}.scope`, {
    "memory.stat": "anon 1000\nfile 5000\nshmem 200\n",
    "memory.swap.current": "30\n",
  });
  expect(await memoryOf(ID, root)).toBe(1230);
});

test("is what the first version says, below whatever root the kubelet has", async () => {
  await group(`memory/some-node/kubepods/burstable/pod1/${ID}`, {
    "memory.stat": "cache 9000\ntotal_cache 9000\ntotal_rss 1000\ntotal_shmem 200\ntotal_swap 3\n",
  });
  expect(await memoryOf(ID, root)).toBe(1203);
});

test("is not known of a container that has no ID", async () => {
  await group("kubepods.slice", { "memory.stat": "anon 1\n" });
  expect(await memoryOf("", root)).toBeUndefined();
});

test("is not known of a container whose group is not there", async () => {
  expect(await memoryOf(ID, root)).toBeUndefined();
  expect(await memoryOf(ID, join(root, "none"))).toBeUndefined();
});
