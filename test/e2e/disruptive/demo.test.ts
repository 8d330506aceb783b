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

  const play = async (...flags: string[]) => {
    const file = join(work, "seen.json");
    const said = await demo("--cluster", cluster!, "--keys", "2000", "--json", file, ...flags);
    expect(said).not.toContain("\x1b");
    expect(said).toContain("none of its 2,000 keys");
    return { said, seen: JSON.parse(await readFile(file, "utf8")) };
  };
  const whole = {
    checkpoint: {
      name: expect.stringMatching(/^redis-.*-demo-\d+$/),
      phase: "ImageBuilt",
      digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    },
    keysBefore: 2000,
    keysAfter: 2000,
  };

  it("brings every key back by the handler: one restart, the same image, never an empty database", async () => {
    const { said, seen } = await play();
    expect(seen).toMatchObject({ ...whole, strategy: "runtime", restarts: 1, emptyWindowMs: 0 });
    expect(seen.checkpoint.image).toMatch(new RegExp(`@${seen.checkpoint.digest}$`));
    expect(seen.checkpoint.bytes).toBeGreaterThan(0);
    expect(seen.checkpoint.frozenMs).toBeGreaterThan(0);
    expect(seen.killToServingMs).toBeGreaterThan(0);
    expect(said).toMatch(/its image +unchanged/);
    expect(said).toMatch(/an empty database +never/);
  });

  it("brings every key back by an image, after the kubelet has restarted the container empty", async () => {
    const { said, seen } = await play("--strategy", "image");
    expect(seen).toMatchObject({ ...whole, strategy: "image", restarts: 2 });
    expect(seen.emptyWindowMs).toBeGreaterThan(0);
    expect(seen.killToServingMs).toBeGreaterThan(seen.emptyWindowMs);
    expect(said).toMatch(/its image +its checkpoint's/);
  });

  it("refuses a strategy that there is not", async () => {
    await expect(demo("--cluster", cluster!, "--strategy", "magic")).rejects.toThrow("runtime, image");
  });

  it("says so when there is no cluster of that name", async () => {
    await expect(demo("--cluster", "kcr-nowhere")).rejects.toThrow("there is no cluster kcr-nowhere");
  });
});
