import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withLock } from "../../cluster/lock.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "kcr-lock-"));
});
afterAll(() => rm(dir, { recursive: true }));

test("no two are inside at once, and whoever waits is told so", async () => {
  const path = join(dir, "one");
  let inside = 0;
  let most = 0;
  let waited = 0;
  const work = async () => {
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setImmediate(resolve));
    inside--;
    return "done";
  };
  const holder = Promise.withResolvers<void>();
  const waiting = () => {
    waited++;
    holder.resolve();
  };
  const others = await withLock(path, async () => {
    const started = [1, 2, 3].map(() => withLock(path, work, { waiting }));
    await holder.promise;
    return started.map((other) => ({ other }));
  });
  expect(await Promise.all(others.map(({ other }) => other))).toEqual(["done", "done", "done"]);
  expect(most).toBe(1);
  expect(waited).toBeGreaterThan(0);
});

test("a failure frees it, and is passed on", async () => {
  const path = join(dir, "failing");
  await expect(withLock(path, () => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  expect(await withLock(path, async () => "free")).toBe("free");
});

test("one who gives up waiting leaves nothing in the way", async () => {
  const path = join(dir, "waiting");
  await withLock(path, async () => {
    const abort = new AbortController();
    const waiting = () => abort.abort(new Error("enough"));
    const inVain = withLock(path, async () => "in", { signal: abort.signal, waiting });
    await expect(inVain).rejects.toThrow("enough");
  });
  expect(await withLock(path, async () => "free")).toBe("free");
});

test("the lock of a process that is killed is free", async () => {
  const path = join(dir, "killed");
  const lock = JSON.stringify(join(import.meta.dirname, "../../cluster/lock.ts"));
  const script = `const { withLock } = await import(${lock});
    await withLock(${JSON.stringify(path)}, () => new Promise(() => { console.log("locked"); setInterval(() => {}, 1000); }));`;
  const holder = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  let killed = false;
  const waiting = () => {
    killed = holder.kill("SIGKILL");
  };
  expect(await withLock(path, async () => killed, { waiting })).toBe(true);
});
