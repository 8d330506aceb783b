import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { run } from "../../../cluster/run.ts";

const cluster = inject("cluster");
const reason = inject("whyNotCluster");

/** Here and not among the others: the demo has one namespace, and what it times suffers from company. */
describe.skipIf(cluster === undefined)(`npm run demo${reason ? ` (${reason})` : ""}`, () => {
  let work: string;
  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), "kcr-demo-"));
  });
  afterAll(() => rm(work, { recursive: true, force: true }));

  const demo = (...flags: string[]) => run([process.execPath, "demo/main.ts", ...flags]);

  it("brings every key back into the same pod, and writes down what was seen", async () => {
    const file = join(work, "seen.json");
    const said = await demo("--cluster", cluster!, "--keys", "2000", "--json", file);
    expect(said).not.toContain("\x1b");
    const seen = JSON.parse(await readFile(file, "utf8"));
    expect(seen).toMatchObject({
      checkpoint: {
        name: expect.stringMatching(/^redis-.*-demo-\d+$/),
        phase: "ImageBuilt",
        digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      },
      keysBefore: 2000,
      keysAfter: 2000,
      restarts: 2,
      strategy: "image",
    });
    expect(seen.checkpoint.image).toMatch(new RegExp(`@${seen.checkpoint.digest}$`));
    expect(seen.checkpoint.bytes).toBeGreaterThan(0);
    expect(seen.checkpoint.frozenMs).toBeGreaterThan(0);
    expect(seen.emptyWindowMs).toBeGreaterThan(0);
    expect(seen.killToServingMs).toBeGreaterThan(seen.emptyWindowMs);
    expect(said).toContain("none of its 2,000 keys");
  });

  it("refuses a strategy that there is not", async () => {
    await expect(demo("--cluster", cluster!, "--strategy", "magic")).rejects.toThrow("image");
  });

  it("says so when there is no cluster of that name", async () => {
    await expect(demo("--cluster", "kcr-nowhere")).rejects.toThrow("there is no cluster kcr-nowhere");
  });
});
