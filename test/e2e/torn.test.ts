import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { handlersReady } from "../support/runtime.ts";
import { crashAndCompare, deployTorn } from "../support/torn.ts";
import { World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("a program that writes to files and memory all the time", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "torn");
    await handlersReady(world, world.worker("2.4"));
  });
  afterAll(() => world.leave());

  it("finds both of the same instant after each of ten crashes", async () => {
    const pod = await deployTorn(world, "torn");
    for (let i = 0; i < 10; i += 1) {
      const { before, after } = await crashAndCompare(world, pod);
      expect(after).toBeGreaterThan(before);
    }
  });
});
