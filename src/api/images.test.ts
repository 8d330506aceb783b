import { describe, expect, it } from "vitest";
import type { Checkpoint } from "./checkpoint.ts";
import { checkpointOfImage, imagePlace, restoreImage } from "./images.ts";
import { settings } from "./settings.ts";

const digest = `sha256:${"a".repeat(64)}`;
const conf = settings.parse({ registry: { push: "push:5000", pull: "pull.example", prefix: "kcr" } });
const at = (checkpointImage: string, imageDigest: string = digest): Checkpoint => ({
  metadata: { name: "c", namespace: "shop" },
  spec: {
    checkpointData: "c.tar",
    checkpointTimestamp: "2026-01-01T00:00:00Z",
    checkpointID: "c",
    containerName: "app",
    nodeName: "worker",
  },
  status: { checkpointImage, imageDigest, runtimeImage: "evil.example/any:1" },
});

describe("the image of a Checkpoint", () => {
  it("is by digest at the address that nodes use, whatever its status says", () => {
    expect(restoreImage(at("kcr/shop/checkpoint-web-app"), conf)).toBe(
      `pull.example/kcr/shop/checkpoint-web-app@${digest}`,
    );
  });

  it.each([
    "kcr/bank/checkpoint-web-app",
    "kcr/shop/../bank/checkpoint-web-app",
    "kcr/shop/checkpoint-web-app/../../bank/x",
    "kcr/shop/checkpoint-web/app",
    "kcr/shop/other",
    "library/redis",
    "",
  ])("is nowhere when its status names another's place: %j", (place) => {
    expect(imagePlace(at(place), conf)).toBeUndefined();
    expect(restoreImage(at(place), conf)).toBeUndefined();
  });

  it.each(["", "latest", "sha256:abc", `${digest}/../x`])(
    "has no reference with a digest like %j",
    (wrong) => {
      expect(restoreImage(at("kcr/shop/checkpoint-web-app", wrong), conf)).toBeUndefined();
    },
  );

  it("is known again at an address that is not used any more", () => {
    const mine = at("kcr/shop/checkpoint-web-app");
    const find = (image: string, namespace = "shop") => checkpointOfImage(image, namespace, [mine], conf);
    expect(find(`old.example:5000/kcr/shop/checkpoint-web-app@${digest}`)).toBe(mine);
    expect(find(`pull.example/kcr/shop/checkpoint-web-app@sha256:${"b".repeat(64)}`)).toBe("unknown");
    expect(find(`pull.example/kcr/shop/checkpoint-web-app@${digest}`, "bank")).toBeUndefined();
    expect(find("redis:8")).toBeUndefined();
    expect(find(`redis@${digest}`)).toBeUndefined();
  });
});
