import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { silent } from "../../kube/log.ts";
import { Layout } from "../../store/layout.ts";
import { archiveFile } from "../store/sources.ts";
import { LocalStore } from "../store/store.ts";
import { doubtController } from "./doubts.ts";

const never = new AbortController().signal;

describe("a copy that another node doubts", () => {
  let directory: string;
  let store: LocalStore;
  let copy: string;
  let time: number;
  /** The copies that were read. */
  let looks: string[];
  let stop: AbortController;
  let running: Promise<void>;
  /** Doubts it, and waits until all that was doubted before was seen to. */
  let doubt: () => Promise<void>;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-doubts-"));
    store = new LocalStore(new Layout(join(directory, "kcr")));
    await store.start();
    await using archive = await archiveFile(await writeCheckpoint(join(directory, "a.tar"), {}), undefined);
    copy = (await store.add(archive, never)).archive;
    [time, looks, stop] = [0, [], new AbortController()];
    const verify = store.verify.bind(store);
    store.verify = (name, signal) => {
      looks.push(name);
      return verify(name, signal);
    };
    const controller = doubtController({ store, log: silent, now: () => new Date(time) });
    running = controller.run(stop.signal);
    doubt = async () => {
      controller.enqueue({ name: copy });
      // One after another, and this one is nowhere.
      const last = createHash("sha256").update(`${looks.length}`).digest("hex");
      controller.enqueue({ name: last });
      await waitFor("the last look", () => looks.includes(last), { intervalMs: 5 });
    };
  });
  afterEach(async () => {
    stop.abort();
    await running;
    await rm(directory, { recursive: true });
  });

  test("and that is whole stays in use, and is read once in ten minutes for that", async () => {
    await doubt();
    time += 599_000;
    await doubt();
    expect(looks.filter((name) => name === copy)).toHaveLength(1);
    time += 2_000;
    await doubt();
    expect(looks.filter((name) => name === copy)).toHaveLength(2);
    expect(await store.has(copy)).toBe(true);
  });

  test("and that is damaged is marked, also when it was whole before", async () => {
    await doubt();
    await writeFile(join(store.layout.copy(copy), "spec.dump"), "damaged");
    time += 601_000;
    await doubt();
    expect(await store.has(copy)).toBe(false);
  });

  test("and that is gone is no concern", async () => {
    await store.remove(copy);
    await doubt();
    expect(await store.list()).toEqual([]);
  });
});
