import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { pushImage } from "../../cluster/images.ts";
import { findCondition } from "../../src/api/conditions.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { askFor, counted, counts, HOLDER_OPTIONS, holder, isLocked } from "../support/holder.ts";
import { capture, crash, deployProtected, handlersReady } from "../support/runtime.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

describe.skipIf(cluster === undefined)("what CRIU saves only when it is told to", () => {
  let world: World;
  let node: string;
  beforeAll(async () => {
    world = await World.enter(cluster!, "options");
    node = world.worker("2.4");
    await handlersReady(world, node);
  });
  afterAll(() => world.leave());

  let requests = 0;
  const request = (pod: Pod) =>
    world.request(`${pod.metadata.labels?.["app"]}-${requests++}`, {
      podReference: { name: pod.metadata.name },
    });
  const refused = async (pod: Pod, reason: string, message: string) => {
    const { status } = await request(pod);
    expect(status).toMatchObject({ phase: "Failed", reason, message: expect.stringContaining(message) });
    expect(findCondition(status?.conditions, "Ready")).toMatchObject({ status: "False", reason });
    expect((await world.event(reason, pod.metadata.name)).note).toContain(message);
  };

  it("is said, with what to do; with the options that are named it is saved, and comes back", async () => {
    const pod = await deployProtected(world, {
      name: "holder",
      schedule: RARELY,
      node,
      containers: [await holder(world)],
    });
    await counts(world, pod);
    await refused(pod, "DeletedFileTooLarge", "annotation kcr.io/criu-options: ghost-limit=<size>");
    await askFor(world, pod, "ghost-limit=8Mi");
    await refused(pod, "FileLockHeld", "annotation kcr.io/criu-options: file-locks");
    await askFor(world, pod, "file-locks shell-job");
    await refused(pod, "CriuOptionsInvalid", '"shell-job" is not allowed; allowed are tcp-established');

    await askFor(world, pod, HOLDER_OPTIONS);
    const before = await counted(world, pod);
    const { status } = await capture(world, pod);
    expect(status).toMatchObject({ criuOptions: "file-locks ghost-limit=8388608", engine: "kubelet" });
    await crash(world, pod);
    expect(await counts(world, pod)).toBeGreaterThan(before);
    expect(await isLocked(world, pod)).toBe(true);
  });

  it("cannot be asked for where the kubelet's call is all there is: that is said, and where CRIU's log is", async () => {
    const pod = await world.deploy({ name: "plain", node, containers: [await holder(world)] });
    await counts(world, pod);
    await askFor(world, pod, HOLDER_OPTIONS);
    const { status } = await request(pod);
    expect(status).toMatchObject({ phase: "Failed", reason: "CheckpointFailed" });
    const reason = "CriuOptionsIgnored";
    expect(findCondition(status?.conditions, "CriuOptions")).toMatchObject({ status: "False", reason });
    expect((await world.event(reason, pod.metadata.name)).note).toContain("RuntimeClass kcr");
    const log = new RegExp(`kubectl debug node/${node} .* grep Error /host(\\S+)\\. `).exec(
      status?.message ?? "",
    );
    expect(await world.cluster.nodeExec(node, ["grep", "Error", log?.[1] ?? ""])).toContain(
      "Can't dump ghost file",
    );
  });

  it("may be a connection to a socket of another container's: it is made again", async () => {
    const image = await pushImage("python", world.cluster.registry.push);
    const mount = { volumeMounts: [{ name: "pod", mountPath: "/pod" }] };
    const python = (script: string) => ({ image, command: ["python3", "-c", script], ...mount });
    const server = `
import os, socket
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind("/pod/log")
while True:
    said = server.recv(100).decode()
    with open("/tmp/half", "w") as half: half.write(said)
    os.rename("/tmp/half", "/tmp/count")`;
    const client = `
import socket, time
client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
while client.connect_ex("/pod/log") != 0: time.sleep(0.1)
count = 0
while True:
    count += 1
    client.send(str(count).encode())
    time.sleep(0.1)`;
    const pod = await deployProtected(world, {
      name: "socket",
      schedule: RARELY,
      node,
      containers: [python(client), python(server)],
      podSpec: { volumes: [{ name: "pod", emptyDir: {} }] },
    });
    const heard = async () =>
      Number(await world.exec(pod, ["python3", "-c", "print(open('/tmp/count').read())"], "app-1"));
    await waitFor("the server to hear of it", async () => (await heard()) > 0);
    await refused(pod, "UnixSocketExternal", "ext-unix-sk");
    await askFor(world, pod, "ext-unix-sk");
    const before = await heard();
    await capture(world, pod);
    await crash(world, pod);
    const again = await waitFor("the server to hear of it again", async () => {
      const now = await heard();
      return now !== (await heard()) && now;
    });
    expect(again).toBeGreaterThan(before);
  });
});
