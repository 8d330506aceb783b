import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkpointEntries, makeTar } from "../../../test/support/archive.ts";
import { silent } from "../../kube/log.ts";
import { Layout } from "../../store/layout.ts";
import type { Context } from "../context.ts";
import { sweep, sweepIncoming } from "./keeper.ts";
import { Pins } from "./pins.ts";
import { LocalStore } from "./store.ts";

let root: string;
let store: LocalStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-keeper-"));
  store = new LocalStore(new Layout(root));
  await store.start();
});
afterEach(() => rm(root, { recursive: true }));

async function copy(containerName: string): Promise<string> {
  const tar = await makeTar(checkpointEntries({ containerName }));
  const read = async function* () {
    yield tar;
  };
  await store.add({ name: containerName, size: tar.length, read }, new AbortController().signal);
  return createHash("sha256").update(tar).digest("hex");
}

test("copies go that belong to no Checkpoint and that nothing counts on, new ones when all Checkpoints are told of", async () => {
  const [known, pinned, stray] = [await copy("known"), await copy("pinned"), await copy("stray")];
  const unheard = await copy("unheard");
  /** What the API server says; the cache has not heard of all of it. */
  let listed = async (): Promise<object[]> => {
    throw new Error("503");
  };
  let minutesLater = 0;
  const now = () => new Date(Date.now() + minutesLater * 60_000);
  const pins = new Pins(store.layout, now);
  let untold: object[] = [{ status: {} }];
  const context = {
    store,
    pins,
    now,
    log: silent,
    client: { listAll: async () => ({ items: await listed() }) },
    caches: { checkpoints: { list: () => [{ status: { digest: `sha256:${known}` } }, ...untold] } },
  } as unknown as Context;
  await sweep(context);
  expect(await store.list()).toHaveLength(4);
  minutesLater = 11;
  pins.hold(pinned);
  await expect(sweep(context)).rejects.toThrow("503");
  expect(await store.list()).toHaveLength(4);
  listed = async () => [{ status: { digest: `sha256:${unheard}` } }];
  await sweep(context);
  expect((await store.list()).map(({ digest }) => digest).sort()).toEqual([known, pinned, unheard].sort());
  expect(await store.has(stray)).toBe(false);

  minutesLater = 0;
  const another = await copy("another");
  await sweep(context);
  expect(await store.has(another)).toBe(true);
  untold = [];
  await sweep(context);
  expect(await store.has(another)).toBe(false);
  expect(await store.has(known)).toBe(true);
});

test("what came of a copy that nobody goes on with is removed after an hour", async () => {
  const archive = "a".repeat(64);
  const files = [{ path: "spec.dump", size: 4, sha256: "b".repeat(64) }];
  const cut = store.addFiles(
    { name: "another node", archive, files },
    async (_, path) => {
      await writeFile(path, "half");
      throw new Error("cut");
    },
    new AbortController().signal,
  );
  await expect(cut).rejects.toThrow("cut");
  const at = (minutes: number) => ({
    store,
    log: silent,
    now: () => new Date(Date.now() + minutes * 60_000),
  });
  await sweepIncoming(at(59));
  expect(await store.incoming()).toHaveLength(1);
  await sweepIncoming(at(61));
  expect(await store.incoming()).toEqual([]);
});
