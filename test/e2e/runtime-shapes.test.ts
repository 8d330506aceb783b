import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { pushImage } from "../../cluster/images.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { hasCapability, missing } from "../support/capability.ts";
import { PLAIN_CLASS } from "../support/install.ts";
import { advance, carrier, mark, podVolumes } from "../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, nextRun, saidRestored } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

const podMount = { name: "pod", mountPath: "/pod" };
const restricted = {
  readOnlyRootFilesystem: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

describe.skipIf(cluster === undefined).each(["2.3", "2.4"] as const)(
  "a container that its node's handler restores, containerd %s,",
  (containerd) => {
    let world: World;
    beforeAll(async () => {
      world = await World.enter(cluster!, "shapes");
      await handlersReady(world);
    });
    afterAll(() => world.leave());

    const deploy = (name: string, container: object, podSpec: object = {}) =>
      deployProtected(world, {
        name,
        schedule: RARELY,
        node: world.worker(containerd),
        containers: [{ ...carrier(world), ...container }],
        podSpec,
      });

    /** Crashes a container that was captured with mark 1 and carries mark 2: it comes back with 1. */
    async function comesBack(pod: Pod, workload: string): Promise<void> {
      expect(await advance(world, pod)).toBe(1);
      await capture(world, pod);
      expect(await advance(world, pod)).toBe(2);
      expect((await crash(world, pod)).restartCount).toBe(1);
      expect(await mark(world, pod)).toBe(1);
      await saidRestored(world, pod, workload);
    }

    it("has a terminal: it has one again, and what it writes is in the log", async () => {
      const pod = await deploy("tty", {
        ...carrier(world, { before: ["tty"], each: ["echo mark $mark"] }),
        tty: true,
      });
      await comesBack(pod, "tty");
      await advance(world, pod);
      await advance(world, pod);
      await waitFor("its words in the log of the new run", async () => {
        const logs = await world.cluster.kubectl(["-n", world.namespace, "logs", pod.metadata.name]);
        return logs.includes("mark 3");
      });
    });

    it("has a postStart hook: that runs again", async () => {
      const hook = { exec: { command: ["sh", "-c", "echo hook >>/tmp/hooks"] } };
      const pod = await deploy("hook", { lifecycle: { postStart: hook } });
      const hooks = () => world.exec(pod, ["cat", "/tmp/hooks"]);
      expect(await hooks()).toBe("hook\n");
      await comesBack(pod, "hook");
      await waitFor("the hook to have run again", async () => (await hooks()) === "hook\nhook\n");
    });

    it("has exec probes, which run while it is dumped: it is ready again", async () => {
      const probe = { exec: { command: ["usleep", "500000"] }, periodSeconds: 1, timeoutSeconds: 5 };
      const pod = await deploy("probes", { livenessProbe: probe, readinessProbe: probe });
      await comesBack(pod, "probes");
      await waitFor("it to be ready", async () => (await world.container(pod)).ready);
      expect((await world.container(pod)).restartCount).toBe(1);
    });

    it("has a root file system that cannot be written to, no capabilities and a seccomp profile", async () => {
      const pod = await deploy(
        "restricted",
        { securityContext: restricted, volumeMounts: [{ name: "pod", mountPath: "/tmp" }] },
        podVolumes,
      );
      await comesBack(pod, "restricted");
      await expect(world.exec(pod, ["touch", "/file"])).rejects.toThrow("Read-only file system");
      const status = await world.exec(pod, ["cat", "/proc/1/status"]);
      expect(status).toMatch(/^Seccomp:\s+2$/m);
      expect(status).toMatch(/^CapEff:\s+0+$/m);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    });

    // CRIU asks the kernel for the limits of each process: of another user's only with this capability.
    it.skipIf(!hasCapability("SYS_RESOURCE"))(`and is not root${missing("SYS_RESOURCE")}`, async () => {
      const image = await pushImage("busybox-nonroot", world.cluster.registry.push);
      const pod = await deploy(
        "nonroot",
        { image, securityContext: restricted, volumeMounts: [{ name: "pod", mountPath: "/tmp" }] },
        { ...podVolumes, securityContext: { runAsNonRoot: true } },
      );
      await comesBack(pod, "nonroot");
      expect((await world.exec(pod, ["id", "-u"])).trim()).toBe("65532");
    });

    it("came after an init container: that ran once, and what it left is there", async () => {
      const init = { name: "init", image: world.cluster.images.busybox, volumeMounts: [podMount] };
      const pod = await deploy(
        "init",
        { volumeMounts: [podMount] },
        { ...podVolumes, initContainers: [{ ...init, command: ["sh", "-c", "echo ran >>/pod/init"] }] },
      );
      await comesBack(pod, "init");
      expect(await world.exec(pod, ["cat", "/pod/init"])).toBe("ran\n");
      expect(await world.container(pod, "init")).toMatchObject({ restartCount: 0 });
    });

    it("is a native sidecar: it alone is restored", async () => {
      const pod = await deploy(
        "sidecar",
        {},
        { initContainers: [{ ...carrier(world), name: "sidecar", restartPolicy: "Always" }] },
      );
      await world.amend("sidecar", { containers: ["sidecar"] });
      expect(await advance(world, pod, "sidecar")).toBe(1);
      await capture(world, pod, "sidecar");
      await advance(world, pod, "sidecar");
      await crash(world, pod, "sidecar");
      expect(await mark(world, pod, "sidecar")).toBe(1);
      expect((await world.container(pod)).restartCount).toBe(0);
    });

    it("is restarted by its liveness probe and ends with exit code 0: its state is kept", async () => {
      const pod = await deploy("liveness", {
        ...carrier(world, { before: ["trap 'exit 0' TERM"] }),
        livenessProbe: {
          exec: { command: ["test", "!", "-e", "/tmp/ill"] },
          periodSeconds: 1,
          failureThreshold: 2,
        },
      });
      expect(await advance(world, pod)).toBe(1);
      await capture(world, pod);
      await advance(world, pod);
      await world.exec(pod, ["touch", "/tmp/ill"]);
      const { lastState } = await nextRun(world, pod, 0);
      expect(lastState?.terminated?.exitCode).toBe(0);
      expect(await mark(world, pod)).toBe(1);
      await saidRestored(world, pod, "liveness");
    });

    it("ends by itself with exit code 0: it begins afresh, and an Event says so", async () => {
      const pod = await deploy("clean", carrier(world, { each: ["[ -e /tmp/done ] && exit 0"] }));
      expect(await advance(world, pod)).toBe(1);
      await capture(world, pod);
      await world.exec(pod, ["touch", "/tmp/done"]);
      await nextRun(world, pod, 0);
      expect(await mark(world, pod)).toBe(0);
      expect((await world.event("StartedFresh", pod.metadata.name)).note).toContain("exit code 0");

      // The state that it ended with is over: a crash of the new run does not bring it back.
      await crash(world, pod);
      expect(await mark(world, pod)).toBe(0);
    });
  },
);

describe.skipIf(cluster === undefined)("a pod that names a RuntimeClass itself", () => {
  let world: World;
  beforeAll(async () => {
    world = await World.enter(cluster!, "ownclass");
    await handlersReady(world);
  });
  afterAll(() => world.leave());

  it("keeps it, and is restored through an image where its node can", async () => {
    const pod = await world.deploy({
      name: "own",
      schedule: RARELY,
      containers: [carrier(world)],
      by: "image",
    });
    expect(pod.spec?.runtimeClassName).toBe(PLAIN_CLASS);
    await advance(world, pod);
    const checkpoint = await world.checkpoint(pod);
    await world.crash(pod);
    expect(await mark(world, pod)).toBe(1);
    expect(await world.image(pod)).toBe(checkpoint.status?.runtimeImage);
  });
});
