import { pushImage } from "../../cluster/images.ts";
import { CRIU_OPTIONS_ANNOTATION } from "../../src/api/labels.ts";
import { type Pod, pods } from "../../src/kube/resources.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

/**
 * A program that holds what CRIU saves only when it is told to: a lock on a file, and a deleted file of two megabytes.
 * It counts in its memory, and what it has counted to stands in /tmp/count while the deleted file is what it was.
 */
const HOLDER = `
import fcntl, os, time
lock = open("/tmp/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
content = os.urandom(2 << 20)
deleted = open("/tmp/deleted", "w+b")
deleted.write(content)
deleted.flush()
os.unlink("/tmp/deleted")
count = 0
while True:
    deleted.seek(0)
    if deleted.read() == content: count += 1
    with open("/tmp/half", "w") as half: half.write(str(count))
    os.rename("/tmp/half", "/tmp/count")
    time.sleep(0.1)
`;

export const holder = async (world: World) => ({
  image: await pushImage("python", world.cluster.registry.push),
  command: ["python3", "-c", HOLDER],
});

/**
 * A program that talks to itself over TCP, and counts what it hears in /tmp/count. When its connection breaks it makes
 * another; how many it has made is in /tmp/connections.
 */
const TALKER = `
import os, socket, time
server = socket.create_server(("127.0.0.1", 9000))
count = connections = 0
def write(name, number):
    with open("/tmp/half", "w") as half: half.write(str(number))
    os.rename("/tmp/half", name)
while True:
    client = socket.create_connection(("127.0.0.1", 9000))
    peer, _ = server.accept()
    connections += 1
    write("/tmp/connections", connections)
    try:
        while True:
            client.sendall(str(count + 1).encode())
            count = int(peer.recv(100))
            write("/tmp/count", count)
            time.sleep(0.1)
    except (OSError, ValueError): pass
`;

export const talker = async (world: World) => ({
  image: await pushImage("python", world.cluster.registry.push),
  command: ["python3", "-c", TALKER],
});

export const HOLDER_OPTIONS = "file-locks, ghost-limit=8Mi";

/** Has a pod ask for options of CRIU's from now on. */
export async function askFor(world: World, pod: Pod, options: string): Promise<void> {
  const body = { metadata: { annotations: { [CRIU_OPTIONS_ANNOTATION]: options } } };
  await world.client.patch(pods, pod.metadata, { type: "merge", body });
}

/** The number in a file of theirs. */
export const counted = async (world: World, pod: Pod, file = "/tmp/count"): Promise<number> =>
  Number(await world.exec(pod, ["python3", "-c", `print(open('${file}').read())`]));

/** Waits until it counts. */
export async function counts(world: World, pod: Pod): Promise<number> {
  const before = await waitFor("a first count", async () => (await counted(world, pod)) || undefined);
  return await waitFor("it to count", async () => {
    const now = await counted(world, pod);
    return now > before && now;
  });
}

/** Whether somebody holds the lock. */
export async function isLocked(world: World, pod: Pod): Promise<boolean> {
  const attempt = `
import fcntl
try: fcntl.flock(open("/tmp/lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: print("locked")`;
  return (await world.exec(pod, ["python3", "-c", attempt])).trim() === "locked";
}
