import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import type { PushCost } from "../../bench/lib/push-once.ts";
import { run } from "../../cluster/run.ts";
import { startRegistry } from "../support/registry.ts";

const program = join(import.meta.dirname, "../../bench/lib/push-once.ts");

test.skipIf(inject("whyNotApiServer"))(
  "pushing an archive of 1 GiB takes hardly more memory than one of 1 MiB",
  async () => {
    const directory = await mkdtemp(join(tmpdir(), "kcr-push-"));
    const registry = await startRegistry();
    try {
      const peak = async (size: number) => {
        const archive = join(directory, `${size}.tar`);
        await writeFile(archive, "sparse");
        await truncate(archive, size);
        const output = await run([process.execPath, program, registry.address, `a/b${size}`, archive]);
        return (JSON.parse(output) as PushCost).peakBytes;
      };
      const small = await peak(2 ** 20);
      expect(small).toBeGreaterThan(10e6);
      expect((await peak(2 ** 30)) - small).toBeLessThan(40e6);
    } finally {
      await registry.stop();
      await rm(directory, { recursive: true });
    }
  },
);
