import { createHash, randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { startRegistry, type TestRegistry } from "../../../test/support/registry.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import type { CaptureSource } from "../../api/request.ts";
import { settings as schema } from "../../api/settings.ts";
import { silent } from "../../kube/log.ts";
import { Archives } from "../archives.ts";
import type { Captured } from "../inspect.ts";
import { Ahead } from "./ahead.ts";

const MiB = 1024 * 1024;
const target = { namespace: "shop", pod: "cache-0", container: "app" };
const name = "checkpoint-cache-0_shop-app-2026-01-01T12:00:00Z.tar";

describe.skipIf(inject("whyNotApiServer"))("an archive on its way while it is written", () => {
  let registry: TestRegistry;
  let archives: Archives;
  let stop: AbortController;
  let ahead: Ahead;

  beforeAll(async () => {
    registry = await startRegistry();
    archives = new Archives(await mkdtemp(join(tmpdir(), "kcr-ahead-")));
    stop = new AbortController();
    ahead = new Ahead({
      archives,
      settings: schema.parse({ registry: { push: registry.address, plainHttp: true } }),
      log: silent,
      signal: stop.signal,
    });
  });
  afterAll(async () => {
    stop.abort();
    await registry.stop();
    await rm(archives.directory, { recursive: true });
  });

  const sourceOf = (repository: string): CaptureSource => ({
    lineage: { podUID: "uid-1", containerID: "abc", restartCount: 0 },
    defaultContainer: "app",
    repository,
  });
  const captured = (sizeBytes: number): Captured =>
    ({ name, path: archives.path(name), sizeBytes }) as Captured;
  /** Bytes of each upload that the registry has begun to take in. */
  const openUploads = async (repository: string): Promise<number[]> => {
    const at = join(registry.data, "docker/registry/v2/repositories", repository, "_uploads");
    const ids = await readdir(at).catch((): string[] => []);
    const all = await Promise.all(ids.map((id) => stat(join(at, id, "data")).catch(() => undefined)));
    return all.flatMap((found) => (found === undefined ? [] : [found.size]));
  };
  const isStored = async (digest: string): Promise<boolean> => {
    const hex = digest.slice("sha256:".length);
    const at = join(registry.data, "docker/registry/v2/blobs/sha256", hex.slice(0, 2));
    return (await readdir(at).catch((): string[] => [])).includes(hex);
  };

  test.each([
    ["the kubelet", name],
    ["a direct dump", ".abc.part"],
  ])("what %s writes is on the way before it is whole, and known by its digest then", async (_by, file) => {
    const repository = `kcr/shop/checkpoint-cache-${file.length}`;
    using following = ahead.follow(target, sourceOf(repository));
    const [first, second] = [randomBytes(3 * MiB + 7), randomBytes(2 * MiB + 1)];
    const path = join(archives.directory, file);
    await writeFile(path, first);
    await waitFor("bytes in the registry", async () => Math.max(0, ...(await openUploads(repository))) > MiB);
    await appendFile(path, second);
    following?.end(captured(first.length + second.length));
    const digest = await ahead.take(name);
    expect(digest).toBe(`sha256:${createHash("sha256").update(first).update(second).digest("hex")}`);
    expect(await isStored(digest ?? "")).toBe(true);
    expect(await ahead.take(name)).toBeUndefined();
    await rm(path);
  });

  test("of a dump that fails nothing stays in the registry", async () => {
    const repository = "kcr/shop/checkpoint-fails";
    {
      using _following = ahead.follow(target, sourceOf(repository));
      await writeFile(archives.path(name), randomBytes(2 * MiB));
      await waitFor("an upload", async () => (await openUploads(repository)).length > 0);
    }
    await waitFor("the end of the upload", async () => (await openUploads(repository)).length === 0);
    expect(await ahead.take(name)).toBeUndefined();
    await rm(archives.path(name));
  });

  test("an archive of another length than was said is not taken for what was sent", async () => {
    using following = ahead.follow(target, sourceOf("kcr/shop/checkpoint-longer"));
    const bytes = randomBytes(MiB);
    await writeFile(archives.path(name), bytes);
    await waitFor("an upload", async () => (await openUploads("kcr/shop/checkpoint-longer")).length > 0);
    following?.end(captured(bytes.length - 1));
    expect(await ahead.take(name)).toBeUndefined();
    await rm(archives.path(name));
  });

  test("another container's archive is not sent, and what cannot be sent holds nobody up", async () => {
    const other = "checkpoint-cache-1_shop-app-2026-01-01T12:00:00Z.tar";
    {
      using following = ahead.follow(target, sourceOf("kcr/shop/checkpoint-other"));
      await writeFile(archives.path(other), randomBytes(MiB));
      await writeFile(archives.path(name), "");
      following?.end({ ...captured(MiB), name: other, path: archives.path(other) });
    }
    expect(await ahead.take(other)).toBeUndefined();
    await registry.kill();
    using following = ahead.follow(target, sourceOf("kcr/shop/checkpoint-away"));
    await rm(archives.path(name));
    await writeFile(archives.path(name), randomBytes(MiB));
    following?.end(captured(MiB));
    expect(await ahead.take(name)).toBeUndefined();
    await registry.start();
  });
});
