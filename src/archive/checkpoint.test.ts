import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CheckpointSpec, writeCheckpoint } from "../../test/support/archive.ts";
import { checkpointAnnotations, userOf } from "./annotations.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { ArchiveError } from "./errors.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-archive-"));
});
afterAll(() => rm(directory, { recursive: true }));

let count = 0;
async function opened(spec?: CheckpointSpec) {
  count += 1;
  return await openCheckpoint(await writeCheckpoint(join(directory, `${count}.tar`), spec));
}

describe("opening a checkpoint", () => {
  test.each(["containerd", "cri-o"] as const)("knows whose it is: %s", async (engine) => {
    await using archive = await opened({ engine, podNamespace: "a-b", podName: "c-d", containerName: "e-f" });
    expect(archive.engine).toBe(engine);
    expect(archive.identity).toEqual({
      containerId: "c".repeat(64),
      containerName: "e-f",
      podName: "c-d",
      podNamespace: "a-b",
      podUid: "5e3ad4c4-7b8a-4a7e-8d3a-94d3f1c0a001",
    });
    expect(archive.problems).toEqual([]);
    expect(archive.isWhole).toBe(true);
  });

  test("knows a container that was itself restored by its label, and what it was restored from", async () => {
    const status = {
      metadata: { name: "redis", attempt: 1 },
      labels: { "io.kubernetes.container.name": "redis" },
      annotations: { restored: "true", checkpointImage: "r.example/kcr/a@sha256:1" },
    };
    await using archive = await opened({
      containerName: "not-its-name",
      more: [{ name: "status.dump", content: JSON.stringify(status) }],
    });
    expect(archive.identity.containerName).toBe("redis");
    expect(archive.restoredFrom).toBe("r.example/kcr/a@sha256:1");
    await using started = await opened();
    expect(started.restoredFrom).toBeUndefined();
  });

  test("knows a Podman container, which has no pod", async () => {
    await using archive = await opened({ engine: "podman", containerName: "web" });
    expect(archive.identity).toEqual({ containerId: "c".repeat(64), containerName: "web" });
    expect(archive.isWhole).toBe(true);
  });

  test("reads statistics, image, user, architecture and log", async () => {
    await using archive = await opened({ frozenUs: 654_321 });
    expect(archive.stats).toEqual({
      freezingUs: 1500,
      frozenUs: 654_321,
      memdumpUs: 60_000,
      memwriteUs: 50_000,
      pagesScanned: 2000,
      pagesSkipped: 0,
      pagesWritten: 1900,
    });
    expect(archive.config.rootfsImageRef).toBe(`registry.example/redis@sha256:${"1".repeat(64)}`);
    expect(archive.spec.process?.args).toEqual(["redis-server"]);
    expect(userOf(archive)).toBe("999:998");
    expect(archive.architecture).toBe("amd64");
    expect(archive.log).toMatchObject({ errors: [], finished: true });
  });

  test("knows from the log CRIU's version, and how the processor saves its state", async () => {
    const lines = [
      "(00.000000) Parsing config file /etc/criu/runc.conf",
      "(00.000179) Version: 4.2.1 (gitid 0)",
      "(00.000964) cpu: fpu: xfeatures_mask 0xe5 xsave_size 2432 xsave_size_max 2440 xsaves_size 2472",
      "(00.3) Version: 9.9 (gitid 0)",
      "(00.4) Dumping finished successfully",
    ];
    await using archive = await opened({ log: lines.join("\n") });
    expect(archive.log).toMatchObject({
      version: "4.2.1",
      xsave: { features: "0xe5", size: 2432, maxSize: 2440 },
      finished: true,
    });
    await using silent = await opened({ log: "(00.4) Dumping finished successfully\n" });
    expect(silent.log).toMatchObject({ version: undefined, xsave: undefined });
  });

  test("shows CRIU's errors, and the end of a log however long", async () => {
    const error =
      "(00.512345) 1: Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established";
    const noise = "(00.000001) Warn  (criu/x.c:1): nothing to see, Error (is only a word here)\n".repeat(
      10_000,
    );
    await using archive = await opened({ log: `${noise}${error}\n${noise}(00.6) Dumping FAILED.\n` });
    expect(archive.log?.errors).toEqual([error]);
    expect(archive.log?.finished).toBe(false);
    expect(archive.log?.tail).toMatch(/Dumping FAILED\.\n$/);
    expect(archive.log!.tail.length).toBeLessThanOrEqual(16 * 1024);
  });

  test.each(["checkpoint/inventory.img", "checkpoint/pstree.img", "checkpoint/core-1.img", "status.dump"])(
    "is not whole without %s",
    async (name) => {
      await using archive = await opened({ without: [name] });
      expect(archive.isWhole).toBe(false);
      expect(archive.problems).toHaveLength(1);
      expect(archive.problems[0]).toContain(name === "checkpoint/core-1.img" ? "core-*.img" : name);
    },
  );

  test("is not whole when an image is a hole, as after a node's crash", async () => {
    await using archive = await opened({
      more: [{ name: "checkpoint/inventory.img", content: Buffer.alloc(64) }],
    });
    expect(archive.problems).toHaveLength(1);
    expect(archive.problems[0]).toContain(
      "checkpoint/inventory.img: not an image of CRIU's of kind inventory",
    );
  });

  test("refuses a file that is cut off, wherever", async () => {
    const path = await writeCheckpoint(join(directory, "cut.tar"));
    let { length } = await readFile(path);
    for (length -= 1024; length > 0; length -= 1500) {
      await truncate(path, length);
      await expect(openCheckpoint(path)).rejects.toMatchObject({ code: "truncated" });
    }
  });

  test.each([
    ["config.dump", "missing"],
    ["spec.dump", "missing"],
  ])("refuses an archive without %s", async (name, code) => {
    await expect(opened({ without: [name] })).rejects.toMatchObject({ code });
  });

  test.each([
    ["of an unknown engine", { annotations: {} }, "unsupported"],
    [
      "without the pod's name",
      { annotations: { "io.kubernetes.cri.container-type": "container" } },
      "malformed",
    ],
    [
      "with labels that are no JSON",
      { annotations: { "io.container.manager": "cri-o", "io.kubernetes.cri-o.Labels": "{" } },
      "malformed",
    ],
    ["with annotations that are no strings", { annotations: { a: 1 } }, "malformed"],
  ])("refuses an archive %s", async (_what, spec, code) => {
    const more = [{ name: "spec.dump", content: JSON.stringify(spec) }];
    await expect(opened({ more })).rejects.toMatchObject({ code });
  });

  test("metadata with any byte changed ends in an archive or an ArchiveError", async () => {
    const path = await writeCheckpoint(join(directory, "fuzz.tar"));
    const good = await readFile(path);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ at: fc.nat(good.length - 1), byte: fc.nat(255) }), {
          minLength: 1,
          maxLength: 6,
        }),
        async (changes) => {
          const bad = Buffer.from(good);
          for (const { at, byte } of changes) bad[at] = byte;
          await writeFile(path, bad);
          try {
            await (await openCheckpoint(path)).close();
          } catch (error) {
            expect(error).toBeInstanceOf(ArchiveError);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

test("an image's annotations name the checkpoint to both runtimes", async () => {
  await using archive = await opened();
  expect(checkpointAnnotations(archive, { engineVersion: "2.4.2" })).toEqual({
    "io.kubernetes.cri-o.annotations.checkpoint.name": "redis",
    "org.criu.checkpoint.container.name": "redis",
    "org.criu.checkpoint.engine.name": "containerd",
    "org.criu.checkpoint.engine.version": "2.4.2",
    "org.criu.checkpoint.host.arch": "amd64",
    "org.criu.checkpoint.pod.name": "redis-0",
    "org.criu.checkpoint.pod.namespace": "default",
    "org.criu.checkpoint.pod.uid": "5e3ad4c4-7b8a-4a7e-8d3a-94d3f1c0a001",
    "org.criu.checkpoint.rootfsImageName": "registry.example/redis:7",
    "org.criu.checkpoint.rootfsImageSha": `sha256:${"1".repeat(64)}`,
    "org.criu.checkpoint.rootfsImageUserRequested": "registry.example/redis:7",
    "org.criu.checkpoint.runtime.name": "io.containerd.runc.v2",
  });
});
