import { copyFile, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ImageName, imageReference, pushImage } from "../../cluster/images.ts";
import { withLock } from "../../cluster/lock.ts";
import { cacheDir } from "../../cluster/paths.ts";
import { FileBytes } from "../../src/archive/bytes.ts";
import { readTar } from "../../src/archive/tar.ts";
import { namespaces, type Pod, pods } from "../../src/kube/resources.ts";
import { checkpointEntries, makeTar } from "./archive.ts";
import { patiently } from "./patiently.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

type Container = (typeof CONTAINERS)[number];
type ContainerSpec = NonNullable<Pod["spec"]>["containers"][number];

/**
 * Programs that were dumped by the local cluster's CRIU, each in an archive as the kubelet writes it - but for
 * `stopped`, whose archive was put together here of what CRIU had written: on a machine with control groups of version
 * 1 the runtime freezes a container, and a process that was stopped before never comes to be seized in it.
 */
const CONTAINERS = ["shell", "redis", "python", "node", "everything"] as const;
export const DUMPED = [...CONTAINERS, "everything-later", "stopped"] as const;
export type Dumped = (typeof DUMPED)[number];

/** Path of each archive. */
export type ArchiveSet = Readonly<Record<Dumped, string>>;

const directory = cacheDir("archives");
const setOf = (): ArchiveSet =>
  Object.fromEntries(DUMPED.map((name) => [name, join(directory, `${name}.tar`)])) as ArchiveSet;
const marker = join(directory, "of-cluster");

/** The archives that were dumped last on this machine, by whatever cluster; undefined when there are none. */
export async function lastArchiveSet(): Promise<ArchiveSet | undefined> {
  return (await readFile(marker).catch(() => undefined)) && setOf();
}

/** The archives of this cluster: they are dumped once in its life, all at the same time, and kept after it. */
export async function archiveSet(world: World): Promise<ArchiveSet> {
  const { metadata } = await world.client.get(namespaces, { name: "kube-system" });
  const sources = await Promise.all([import.meta.filename, everything].map((file) => readFile(file, "utf8")));
  const wanted = JSON.stringify([metadata.uid, ...sources]);
  await withLock(join(directory, "lock"), async () => {
    if ((await readFile(marker, "utf8").catch(() => "")) === wanted) return;
    await rm(marker, { force: true });
    // One after the other: some are of one image.
    for (const image of ["busybox", "redis", "python", "node"] as const) {
      await pushImage(image, world.cluster.registry.push);
    }
    await Promise.all([...CONTAINERS.map((name) => dump(world, name)), dumpStopped(world)]);
    await writeFile(marker, wanted);
  });
  return setOf();
}

const everything = join(import.meta.dirname, "programs/everything.py");

/** A program, and what says that it is in the state that is to be dumped. */
interface Program {
  image: ImageName;
  container: Partial<ContainerSpec>;
  ready: readonly string[];
}

async function programOf(name: Container): Promise<Program> {
  const touch = ["test", "-e", "/tmp/ready"];
  switch (name) {
    case "shell": {
      const script =
        "export SHELL_VARIABLE=later; cd /tmp; echo written >file; rm /bin/vi; sleep 3600 & wait";
      return {
        image: "busybox",
        container: {
          command: ["sh", "-c", `touch /tmp/ready; ${script}`],
          env: [
            { name: "PASSWORD", value: "correct horse" },
            { name: "GREETING", value: "hello" },
          ],
        },
        ready: touch,
      };
    }
    case "redis":
      return {
        image: "redis",
        container: { command: ["redis-server", "--save", "", "--protected-mode", "no"] },
        ready: ["redis-cli", "SET", "name", "kept-in-redis"],
      };
    case "python":
      return { image: name, container: {}, ready: [] };
    case "node":
      // Where it may, Node uses io_uring, with which CRIU cannot dump it; the usual profile does not let it.
      return {
        image: name,
        container: { securityContext: { seccompProfile: { type: "RuntimeDefault" } } },
        ready: [],
      };
    case "everything":
      return {
        image: "python",
        container: {
          command: ["python3", "-c", await readFile(everything, "utf8"), "an argument", "with\ttab", ""],
          volumeMounts: [{ name: "data", mountPath: "/data" }],
        },
        ready: [],
      };
    default:
      return name satisfies never;
  }
}

async function dump(world: World, name: Container): Promise<void> {
  const { client, namespace } = world;
  const { image, container, ready } = await programOf(name);
  const node = world.worker("2.4");
  const place = { namespace, name: `dumped-${name}` };
  await client.create(pods, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { ...place, labels: { "kcr.io/dumped": name } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      containers: [{ name: "app", image: imageReference(image), ...container }],
      volumes: [{ name: "data", emptyDir: {} }],
    },
  } as unknown as Pod);
  const pod = await waitFor(`${name} to run`, async () => {
    const seen = await client.get(pods, place);
    return seen.status?.containerStatuses?.[0]?.state?.running && seen;
  });
  await waitFor(`${name} to be ready`, () => isReady(world, pod, name, ready));
  await capture(world, node, place.name, name);
  if (name === "everything") {
    await world.exec(pod, ["python3", "-c", "open('/tmp/change', 'w')"]);
    await waitFor("it to change", () => hasFile(world, pod, "/tmp/changed"));
    await capture(world, node, place.name, "everything-later");
  }
  await client.delete(pods, place);
}

/** Has a container checkpointed by its node's kubelet. */
async function capture(
  { cluster, namespace }: World,
  node: string,
  pod: string,
  name: Dumped,
): Promise<void> {
  const path = `/api/v1/nodes/${node}/proxy/checkpoint/${namespace}/${pod}/app`;
  const answer = await patiently(() =>
    cluster.kubectl(["create", "--raw", path, "-f", "-"], { input: "{}" }),
  );
  const [made = ""] = (JSON.parse(answer) as { items: string[] }).items;
  const onHost = made.replace("/var/lib/kubelet", cluster.dataDir(node, "kubelet"));
  const target = setOf()[name];
  await copyFile(onHost, `${target}.part`);
  await rename(`${target}.part`, target);
  await rm(onHost);
}

/** A shell with a child that is stopped, on a node itself. */
async function dumpStopped(world: World): Promise<void> {
  const node = world.worker("2.4");
  const file = "kcr-stopped.tar";
  const script = `cd "$(mktemp -d)"; mkdir checkpoint
    setsid sh -c 'sleep 3600 & kill -STOP $!; touch ready; while :; do sleep 3600; done' </dev/null >/dev/null 2>&1 &
    pid=$!
    while [ ! -e ready ]; do sleep 0.1; done
    criu dump --tree $pid --images-dir checkpoint --log-file dump.log
    mv checkpoint/dump.log checkpoint/stats-dump .
    tar -cf /var/lib/kubelet/${file} dump.log stats-dump checkpoint/*; rm -r "$PWD"`;
  await world.cluster.nodeExec(node, ["sh", "-euc", script]);
  const made = join(world.cluster.dataDir(node, "kubelet"), file);
  await using images = await FileBytes.open(made);
  const tar = await readTar(images);
  const entries = await Promise.all(
    [...tar.entries()].map(async ({ name, size }) => ({ name, content: await tar.read(name, size) })),
  );
  const names = new Set(entries.map(({ name }) => name));
  const metadata = checkpointEntries({ containerName: "stopped" }).filter(
    ({ name }) => !name.startsWith("checkpoint/") && !names.has(name),
  );
  await writeFile(setOf().stopped, await makeTar([...metadata, ...entries]));
  await rm(made);
}

async function isReady(world: World, pod: Pod, name: Container, ready: readonly string[]): Promise<boolean> {
  if (ready.length > 0) return await world.exec(pod, [...ready]).then(() => true);
  if (name === "everything") return await hasFile(world, pod, "/tmp/ready");
  const answer = await fetch(`http://${pod.status?.podIP}:8080/name`, {
    method: "PUT",
    body: `kept-in-${name}`,
    signal: AbortSignal.timeout(2000),
  });
  return answer.ok;
}

async function hasFile(world: World, pod: Pod, path: string): Promise<boolean> {
  const look = `import os, sys; sys.exit(not os.path.exists(${JSON.stringify(path)}))`;
  return await world.exec(pod, ["python3", "-c", look]).then(() => true);
}
