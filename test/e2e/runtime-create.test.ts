import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { describe, expect, inject, it } from "vitest";
import { attach } from "../../cluster/cluster.ts";

const cluster = inject("cluster");
const LIB = "/opt/kcr-runtime/lib";

describe.skipIf(cluster === undefined)("the handler before the real runc", () => {
  it("of two hundred strange creates leaves none otherwise than runc alone, or restored", async () => {
    const { nodeExec, dataDir } = await attach(cluster);
    const node = "worker-2";
    const work = await mkdtemp(join(tmpdir(), "kcr-real-"));
    const name = "create-real.mjs";
    const inNode = join(dataDir(node, "kcr"), name);
    try {
      await build({
        entryPoints: [join(import.meta.dirname, "../fuzz/create-real.ts")],
        bundle: true,
        platform: "node",
        format: "esm",
        outfile: join(work, name),
        logLevel: "warning",
      });
      await cp(join(work, name), inNode);
      const loader = (await nodeExec(node, ["sh", "-c", `echo ${LIB}/ld-linux*`])).trim();
      const argv = [loader, "--library-path", LIB, `${LIB}/node`, `/var/lib/kcr/${name}`, "200", "1"];
      const output = await nodeExec(node, ["unshare", "--mount", ...argv]);
      const { wrong, ...ended } = JSON.parse(output);
      expect(wrong).toEqual([]);
      expect(ended).toMatchObject({ count: 200 });
      expect(ended.restored).toBeGreaterThan(5);
      expect(ended.created).toBeGreaterThan(25);
    } finally {
      await rm(work, { recursive: true, force: true });
      await rm(inNode, { force: true });
    }
  });
});
