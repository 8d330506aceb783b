import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { AgentStage } from "../../bench/lib/shipped-agent.ts";
import { hole, writeCheckpoint } from "../support/archive.ts";
import { startRegistry, type TestRegistry } from "../support/registry.ts";

const kubeconfig = inject("kubeconfig");
const podNamespace = "agent-memory";

describe.skipIf(kubeconfig === undefined)("the agent as it ships", () => {
  let directory: string;
  let registry: TestRegistry;
  let stage: AgentStage;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-agent-memory-"));
    registry = await startRegistry();
    stage = await AgentStage.set({
      directory: join(directory, "stage"),
      kubeconfig: kubeconfig!,
      push: registry.address,
    });
  });
  afterAll(async () => {
    stage?.[Symbol.dispose]();
    await registry?.stop();
    await rm(directory, { recursive: true });
  });

  test("makes an image of 1 GiB in less than 200 MB", async ({ signal }) => {
    const archive = await writeCheckpoint(join(directory, "large.tar"), {
      podNamespace,
      pages: hole(2 ** 30),
    });
    const { peakBytes } = await stage.run(archive, signal);
    expect(peakBytes).toBeGreaterThan(50e6);
    expect(peakBytes).toBeLessThan(200e6);
  });

  test("is not measured where its Checkpoint fails", async ({ signal }) => {
    const archive = await writeCheckpoint(join(directory, "damaged.tar"), {
      podNamespace,
      more: [{ name: "checkpoint/core-1.img", content: "no image" }],
    });
    await expect(stage.run(archive, signal)).rejects.toThrow("core-1.img");
  });
});
