import { describe, expect, inject, it } from "vitest";
import { attach } from "../../cluster/cluster.ts";
import { run } from "../../cluster/run.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("npm run image", () => {
  const push = (...flags: string[]) => run([process.execPath, "scripts/image.ts", "push", ...flags]);

  it("pushes kcr's image to any registry, and says how to name it", async () => {
    const { registry } = await attach(cluster!);
    const said = await push(`${registry.push}/somebody/kcr:mine`, "--plain-http");
    const manifest = await fetch(`http://${registry.push}/v2/somebody/kcr/manifests/mine`, {
      headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
    });
    expect(manifest.status).toBe(200);
    expect(said).toContain(`digest: ${manifest.headers.get("docker-content-digest")}`);
    expect(said).toContain(`newName: ${registry.push}/somebody/kcr`);
  });

  it("wants a tag, and a registry that answers", async () => {
    await expect(push("registry.example.com/kcr")).rejects.toThrow("names no tag");
    await expect(push("127.0.0.1:1/kcr:1")).rejects.toThrow(/image: .*127\.0\.0\.1:1/);
  });
});
