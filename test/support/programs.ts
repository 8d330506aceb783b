import type { Pod } from "../../src/kube/resources.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

type Container = NonNullable<Pod["spec"]>["containers"][number];

const podMount = { name: "pod", mountPath: "/pod" };

/** A shell program that carries a mark in its memory, which begins at 0 and grows with each `advance`. */
const carryingMark = (before: string[], each: string[]): string =>
  [
    ...before,
    "mark=0; trap 'mark=$((mark+1))' USR1",
    "while :; do",
    ...each,
    // Only how the mark is read: it lives in the shell's memory alone.
    "echo $mark >/tmp/mark; usleep 200000; done",
  ].join("\n");

/** Carries a mark; does what it is told before it begins, and at each turn. */
export const carrier = (
  world: World,
  { before = [], each = [] }: { before?: string[]; each?: string[] } = {},
): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: ["/bin/sh", "-c", carryingMark(before, each)],
});

/** Carries a mark. It ends at once while its mark is one that was forbidden outside its memory. */
export const marked = (world: World): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: ["/bin/sh", "-c", carryingMark([], ["[ -e /pod/forbidden-$mark ] && exit 1"])],
  volumeMounts: [podMount],
});

/**
 * Carries a mark; once /tmp/grow exists it takes all the memory that there is. The file is the container's own: a
 * checkpoint from before does not have it.
 */
export const greedy = (world: World): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: [
    ...["/bin/sh", "-c"],
    carryingMark([], ["if [ -e /tmp/grow ]; then x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done; fi"]),
  ],
  resources: { limits: { memory: "64Mi" } },
});

/**
 * Carries a mark, and can be started only once in the life of its pod: its command is a link in a volume, which
 * `podWithLink` makes and the program removes.
 */
export const onceOnly = (world: World): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: ["/pod/sh", "-c", carryingMark(["rm /pod/sh"], [])],
  volumeMounts: [podMount],
});

/** The volume of a pod that outlives its containers: what `marked` needs. */
export const podVolumes = { volumes: [{ name: "pod", emptyDir: {} }] };

/** The volume with the command of `onceOnly` in it. */
export const podWithLink = (world: World) => ({
  ...podVolumes,
  initContainers: [
    {
      name: "link",
      image: world.cluster.images.busybox,
      command: ["ln", "-s", "/bin/sh", "/pod/sh"],
      volumeMounts: [podMount],
    },
  ],
});

/** The mark that a container's program carries: it is made to say it again, for the file may be older than it. */
export async function mark(world: World, pod: Pod, container = "app"): Promise<number> {
  const script = "rm -f /tmp/mark; while [ ! -s /tmp/mark ]; do usleep 20000; done; cat /tmp/mark";
  return Number(await world.exec(pod, ["sh", "-c", script], container));
}

/** Gives a container its next mark, and waits until it carries it. */
export async function advance(world: World, pod: Pod, container = "app"): Promise<number> {
  const old = await mark(world, pod, container);
  await world.exec(pod, ["kill", "-USR1", "1"], container);
  return await waitFor("the next mark", async () => {
    const now = await mark(world, pod, container);
    return now > old && now;
  });
}

/** From now on a `marked` container of this pod ends at once when it carries one of these marks. */
export async function forbid(world: World, pod: Pod, ...marks: number[]): Promise<void> {
  await world.exec(pod, ["touch", ...marks.map((n) => `/pod/forbidden-${n}`)]);
}
