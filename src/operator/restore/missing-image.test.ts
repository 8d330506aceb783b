import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { settings } from "../../api/settings.ts";
import { silent } from "../../kube/log.ts";
import type { Pod } from "../../kube/resources.ts";
import type { Context } from "../context.ts";
import { MissingImages } from "./missing-image.ts";

test("a registry that answers nobody is waited for once, not for each of many containers", async () => {
  let calls = 0;
  const registry = createServer(() => {
    calls++;
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void registry.close());
  await new Promise((resolve) => registry.once("listening", resolve));
  const push = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
  const context = { settings: settings.parse({ registry: { push, plainHttp: true } }), log: silent };
  const images = new MissingImages(context as unknown as Context);
  const checkpoint = {
    metadata: { name: "c", namespace: "shop" },
    status: { checkpointImage: "kcr/shop/checkpoint-web", imageDigest: `sha256:${"1".repeat(64)}` },
  } as Checkpoint;
  const isMissing = () => images.isMissing({ metadata: { name: "web" } } as Pod, checkpoint);
  expect(await isMissing()).toBe(false);
  const asked = calls;
  expect(asked).toBeGreaterThan(0);
  for (let n = 0; n < 100; n++) expect(await isMissing()).toBe(false);
  expect(calls).toBe(asked);
});
