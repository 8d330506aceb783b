import type { Pod } from "../../src/kube/resources.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

type Container = NonNullable<Pod["spec"]>["containers"][number];

/** What a shell program keeps doing, five times a second. */
const forever = (...lines: string[]): string => ["while :; do", ...lines, "usleep 200000; done"].join("\n");

const shell = (world: World, ...lines: string[]): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: ["/bin/sh", "-c", lines.join("\n")],
});

/**
 * Counts in its memory; once /tmp/grow exists it takes all the memory that there is. The file is the container's
 * own: a checkpoint from before does not have it.
 */
export const greedyCounter = (world: World): Partial<Container> => ({
  ...shell(
    world,
    "i=0",
    forever(
      "i=$((i+1)); echo $i >/tmp/count",
      "if [ -e /tmp/grow ]; then x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done; fi",
    ),
  ),
  resources: { limits: { memory: "64Mi" } },
});

/**
 * Counts in its memory, and can be started only once in the life of its pod: its command is a link in a volume,
 * which `podWithLink` makes and the program removes.
 */
export const onceOnlyCounter = (world: World): Partial<Container> => ({
  image: world.cluster.images.busybox,
  command: ["/pod/sh", "-c", ["rm /pod/sh; i=0", forever("i=$((i+1)); echo $i >/tmp/count")].join("\n")],
  volumeMounts: [podMount],
});

/**
 * Carries a mark in its memory, which begins at 0 and grows with each `advance`. It ends at once while its mark is
 * one that was forbidden outside its memory.
 */
export const marked = (world: World): Partial<Container> => ({
  ...shell(
    world,
    "mark=0; trap 'mark=$((mark+1))' USR1",
    forever("[ -e /pod/forbidden-$mark ] && exit 1", "echo $mark >/tmp/mark"),
  ),
  volumeMounts: [podMount],
});

const podMount = { name: "pod", mountPath: "/pod" };

/** The volume of a pod that outlives its containers: what `marked` needs. */
export const podVolumes = { volumes: [{ name: "pod", emptyDir: {} }] };

/** The volume with the command of `onceOnlyCounter` in it. */
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

/** The mark that a `marked` container carries. */
export const mark = (world: World, pod: Pod): Promise<number> => world.number(pod, "/tmp/mark");

/** Gives a `marked` container its next mark, and waits until it carries it. */
export async function advance(world: World, pod: Pod): Promise<number> {
  const old = await mark(world, pod);
  await world.exec(pod, ["kill", "-USR1", "1"]);
  return await waitFor("the next mark", async () => {
    const now = await mark(world, pod);
    return now > old && now;
  });
}

/** From now on a `marked` container of this pod ends at once when it carries one of these marks. */
export async function forbid(world: World, pod: Pod, ...marks: number[]): Promise<void> {
  await world.exec(pod, ["touch", ...marks.map((n) => `/pod/forbidden-${n}`)]);
}
