import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Pod } from "../../src/kube/resources.ts";
import { advance, carrier, mark } from "../support/programs.ts";
import { capture, crash, deployProtected, handlersReady, saidRestored } from "../support/runtime.ts";
import { fill, stores, valueFor, Watch } from "../support/stores.ts";
import { waitFor } from "../support/wait-for.ts";
import { RARELY, World } from "../support/world.ts";

const cluster = inject("cluster");

/** How an Event says how old a state is. */
const AGE = /\b\d+(\.\d+)? ?(ms|s|min|seconds?|minutes?)\b/;

describe.skipIf(cluster === undefined).each(["2.3", "2.4"] as const)(
  "killed on a node with containerd %s,",
  (containerd) => {
    let world: World;
    beforeAll(async () => {
      world = await World.enter(cluster!, "programs");
      await handlersReady(world);
    });
    afterAll(() => world.leave());

    const deploy = (name: string, container: object) =>
      deployProtected(world, {
        name,
        schedule: RARELY,
        node: world.worker(containerd),
        containers: [container],
      });

    /** It is the same pod as before in all that others see of it, and says what became of it. */
    async function isTheSame(pod: Pod, workload: string): Promise<void> {
      const now = await world.pod(pod.metadata.name);
      expect(now.metadata.uid).toBe(pod.metadata.uid);
      expect(now.status?.podIP).toBe(pod.status?.podIP);
      expect(now.spec?.containers[0]?.image).toBe(pod.spec?.containers[0]?.image);
      expect((await world.container(pod)).restartCount).toBe(1);
      expect(await saidRestored(world, pod, workload)).toMatch(AGE);
      await waitFor("the pod's condition", async () =>
        (await world.pod(pod.metadata.name)).status?.conditions?.some(
          ({ type, status }) => type === "kcr.io/Restored" && status === "True",
        ),
      );
    }

    it.each(stores.map((store, i) => ({ store, name: `store-${i}`, what: store.name })))(
      "$what answers with what it knew at its checkpoint, and never with less",
      async ({ store, name }) => {
        const pod = await deploy(name, await store.container(world));
        const ip = pod.status?.podIP ?? "";
        await fill(store, ip, "kept", 60);
        await capture(world, pod);
        await fill(store, ip, "lost", 20);
        expect(await store.count(ip)).toBe(80);

        await using watch = new Watch(store, ip);
        await waitFor("a first answer", () => watch.answers.length > 0);
        await crash(world, pod);
        await waitFor("its answer as of the checkpoint", () => watch.answers.at(-1) === 60);

        expect(watch.answers).toEqual([80, 60]);
        for (let i = 0; i < 60; i++) {
          expect(await store.get(ip, `kept-${i}`), `kept-${i}`).toBe(valueFor(`kept-${i}`));
        }
        expect(await store.get(ip, "lost-0")).toBeUndefined();
        await store.put(ip, "new", "learned");
        expect(await store.count(ip)).toBe(61);
        await isTheSame(pod, name);
      },
    );

    it("a shell goes on counting, and has its root file system as it was at the checkpoint", async () => {
      // A file that grows is open all the while: CRIU looks at its size.
      const container = carrier(world, {
        before: ["exec 3>>/log"],
        each: ["echo $mark >&3; echo mark $mark"],
      });
      const pod = await deploy("shell", container);
      await advance(world, pod);
      await world.exec(pod, ["sh", "-euc", BEFORE]);
      const before = await tree(pod);
      await capture(world, pod);
      await advance(world, pod);
      await world.exec(pod, ["sh", "-euc", AFTER]);
      expect(await tree(pod)).not.toEqual(before);

      await crash(world, pod);

      expect(await mark(world, pod)).toBe(1);
      expect(await tree(pod)).toEqual(before);
      await isTheSame(pod, "shell");
      // What it says now goes where the kubelet looks for what the new container says.
      await advance(world, pod);
      await advance(world, pod);
      await waitFor("its words in the log of the new run", async () => {
        const logs = await world.cluster.kubectl(["-n", world.namespace, "logs", pod.metadata.name]);
        return logs.includes("mark 3");
      });
    });

    /** Every path of the container's root file system, and what there is to say of it. */
    async function tree(pod: Pod): Promise<string[]> {
      const find = `find / -xdev \\( ${[...VOLATILE, ...OF_THE_POD]
        .map((path) => `-path ${path}`)
        .join(" -o ")} \\) -prune -o`;
      const script = [
        `${find} -exec stat -c '%N %F %a %u:%g' {} +`,
        `${find} -type f -exec stat -c '%n changed %Y' {} +`,
        `${find} -type f -exec md5sum {} +`,
      ].join("; ");
      return (await world.exec(pod, ["sh", "-euc", script])).split("\n").sort();
    }
  },
);

const VOLATILE = ["/proc", "/sys", "/dev", "/tmp", "/log", "/run/kcr"];
/** The kubelet makes these for each run of a container. */
const OF_THE_POD = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/** Changes of the image's files before the checkpoint: created, changed, deleted; links; a directory for a file. */
const BEFORE = `
  mkdir -p /made/empty /made/deep/er && echo one >/made/file && echo secret >/made/deep/er/mode
  chmod 640 /made/deep/er/mode && chown 12:34 /made/deep/er/mode && chmod 1777 /made/empty
  echo 'added:x:7:7::/:/bin/false' >>/etc/passwd
  rm /etc/group
  rm /etc/nsswitch.conf && mkdir /etc/nsswitch.conf
  ln -s /etc/passwd /made/link && ln -s nowhere /made/dangling && ln /made/file /made/hard
  ln -sfn /made /bin/awk
  rm -r /var && mkdir /var && echo new >/var/only
  rm -r /root && echo 'a file now' >/root
  touch '/made/with spaces and ünicode' && touch -d '2001-02-03 04:05:06' /made/old
`;

/** Changes after it: every one of those undone or done otherwise. */
const AFTER = `
  rm -r /made/deep /made/link && echo two >>/made/file && ln -s /etc /made/dangling2 && rm /made/dangling
  echo 'more:x:8:8::/:/bin/false' >>/etc/passwd
  echo back >/etc/group
  rmdir /etc/nsswitch.conf && echo 'a file again' >/etc/nsswitch.conf
  ln -sfn busybox /bin/awk && rm /bin/ls
  rm -r /var && echo gone >/later && mkdir /later-dir && rm /root && mkdir /root
`;
