import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { advance, carrier, mark } from "../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, saidRestored } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

const dataMount = { name: "data", mountPath: "/data" };

describe.skipIf(cluster === undefined)("what a container has beside its memory", () => {
  let world: World;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "volumes");
    node = world.worker("2.4");
    await handlersReady(world, node);
  });
  afterAll(async () => {
    await world.cluster.nodeExec(node, ["rm", "-rf", hostDirectory()]);
    await world.leave();
  });

  /** A directory of the node, which stands for any volume that outlives its pods. */
  const hostDirectory = () => `/var/lib/kcr-test-${world.namespace}`;
  const emptyDir = { volumes: [{ name: "data", emptyDir: {} }] };
  const hostPath = () => ({
    volumes: [{ name: "data", hostPath: { path: hostDirectory(), type: "DirectoryOrCreate" } }],
  });

  /** Carries a mark, and has a file of a volume open for reading and writing. */
  const holder = () => ({
    ...carrier(world, { before: ["echo begun >/data/file; exec 3<>/data/file"] }),
    volumeMounts: [dataMount],
  });

  const deploy = (name: string, container: object, podSpec: object = {}) =>
    deployProtected(world, { name, schedule: RARELY, node, containers: [container], podSpec });

  it("an emptyDir is put back with the memory: a file that it has open, and all others", async () => {
    const pod = await deploy("empty", holder(), emptyDir);
    const data = () =>
      world.exec(pod, ["sh", "-c", "cd /data; find . -exec stat -c '%N %F %a' {} +; md5sum file dir/*"]);
    await advance(world, pod);
    await world.exec(pod, [
      "sh",
      "-euc",
      "mkdir /data/dir; echo kept >/data/dir/kept; ln -s file /data/link; chmod 700 /data/dir",
    ]);
    const before = await data();
    await capture(world, pod);
    await advance(world, pod);
    await world.exec(pod, [
      ...["sh", "-euc"],
      "echo a longer text than before >>/data/file; rm -r /data/dir; mkdir /data/later; rm /data/link; ln -s dir /data/link",
    ]);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(1);
    expect(await data()).toBe(before);
    await saidRestored(world, pod, "empty");
  });

  it("a file of a lasting volume is open for writing: it begins afresh, and the Event names the path", async () => {
    const pod = await deploy("lasting", holder(), hostPath());
    await advance(world, pod);
    await capture(world, pod);
    await world.exec(pod, ["sh", "-c", "echo of now >/data/other"]);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(0);
    expect(await world.exec(pod, ["cat", "/data/other"])).toBe("of now\n");
    for (const about of [pod.metadata.name, "lasting"]) {
      expect((await world.event("RestoreFailed", about)).note).toMatch(/VolumeStateDiverges.*\/data\/file/);
      expect((await world.event("StartedFresh", about)).note).toContain("/data/file");
    }
  });

  it("and restore.fallback is Fail: it does not begin at all, until a person lets its volume be", async () => {
    const pod = await deploy("fail", holder(), hostPath());
    await world.amend("fail", { restore: { fallback: "Fail" } });
    await advance(world, pod);
    await capture(world, pod);

    await world.kill(pod);
    await waitFor("the reason why it is not created", async () => {
      const { state } = await world.container(pod);
      return (
        state?.waiting?.message?.includes("/data/file") &&
        state.waiting.message.includes("VolumeStateDiverges")
      );
    });
    for (const about of [pod.metadata.name, "fail"]) {
      expect((await world.event("RestoreRefused", about)).note).toContain("/data/file");
    }

    await world.amend("fail", { restore: { fallback: "Fail", volumes: "Ignore" } });
    await waitFor("it to run again", async () => (await world.container(pod)).state?.running !== undefined, {
      timeoutMs: 120_000,
    });
    expect(await mark(world, pod)).toBe(1);
  });

  it("no file of it is open: it is restored beside what the volume has now", async () => {
    const pod = await deploy("closed", { ...carrier(world), volumeMounts: [dataMount] }, hostPath());
    await advance(world, pod);
    await capture(world, pod);
    await advance(world, pod);
    await world.exec(pod, ["sh", "-c", "echo of now >/data/closed"]);

    await crash(world, pod);

    expect(await mark(world, pod)).toBe(1);
    expect(await world.exec(pod, ["cat", "/data/closed"])).toBe("of now\n");
  });
});
