import { mkdtemp } from "node:fs/promises";
import { basename, join } from "node:path";
import { compileStatic } from "../../scripts/compile.ts";
import { runtimeID } from "../../src/api/pod.ts";
import type { DumpStep } from "../../src/engine/steps.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { KCR } from "./runtime.ts";
import { waitFor } from "./wait-for.ts";
import type { World } from "./world.ts";

/** Where on a node the program of hold-at.c, and what it is told, lie. */
const PLACE = "hold-at";

/** A container whose direct dump is held where it is, until it is let go. */
export interface Held {
  step: DumpStep;
  pod: Pod;
  /** Whether the container's control group is frozen now. */
  isFrozen(): Promise<boolean>;
  /** What its program has counted to, read from outside: nothing of this is in the container. */
  count(): Promise<number>;
  letGo(): Promise<void>;
}

/** Holds direct dumps of a node at their steps: each is kept from writing down that it goes on to the next. */
export class Holder implements AsyncDisposable {
  readonly #world: World;
  readonly #node: string;
  readonly #directory: string;
  readonly #holding: Promise<unknown>[] = [];

  private constructor(world: World, node: string, directory: string) {
    this.#world = world;
    this.#node = node;
    this.#directory = directory;
  }

  static async on(world: World, node: string): Promise<Holder> {
    const directory = await mkdtemp(join(world.cluster.dataDir(node, "kcr"), `${PLACE}-`));
    await compileStatic(join(import.meta.dirname, "hold-at.c"), join(directory, PLACE));
    return new Holder(world, node, join(KCR.root, basename(directory)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sh(`for set in ${this.#directory}/*.set; do touch \${set%set}go; done`);
    await Promise.all(this.#holding);
    await this.#sh(`rm -r ${this.#directory}`);
  }

  /** Has a running `counter` dumped, and waits until that is held at the step. */
  async hold(pod: Pod, step: DumpStep): Promise<Held> {
    const id = runtimeID(pod.status?.containerStatuses?.[0]?.containerID) ?? "";
    const dump = join(KCR.dumps, id);
    const root = `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${id}/rootfs`;
    const mark = `${this.#directory}/${step}`;
    // Somebody is in the container, who keeps the dump waiting until all is prepared.
    const script = "touch /tmp/in; until [ -e /tmp/out ]; do usleep 20000; done";
    this.#world.exec(pod, ["sh", "-c", script]).catch(() => {});
    await this.#until(`[ -e ${root}/tmp/in ]`);
    await this.#world.ask(step, { podReference: { name: pod.metadata.name } });
    await this.#until(`grep -q waiting ${dump}/step`);
    const state = `$(sed -n s/^cgroup=//p ${dump}/job)`;
    const group = (await this.#sh(`echo ${state}`)).trim();
    const leave = () => this.#sh(`touch ${root}/tmp/out`);
    if (step !== "waiting") {
      const hold = `${this.#directory}/${PLACE} ${dump}/step ${step} ${mark}`;
      this.#holding.push(this.#sh(hold).catch(() => {}));
      await this.#until(`[ -e ${mark}.set ]`);
      await leave();
      await this.#until(`[ -e ${mark}.held ]`);
    }
    const frozen = `grep -qs FROZEN ${group}/freezer.state || grep -qs 'frozen 1' ${group}/cgroup.events`;
    return {
      step,
      pod,
      isFrozen: async () => (await this.#sh(`if ${frozen}; then echo yes; fi`)) !== "",
      count: async () => Number(await this.#sh(`cat ${root}/tmp/count`)),
      letGo: async () => {
        await (step === "waiting" ? leave() : this.#sh(`touch ${mark}.go`));
      },
    };
  }

  #sh(script: string): Promise<string> {
    return this.#world.cluster.nodeExec(this.#node, ["sh", "-c", script]);
  }

  async #until(condition: string): Promise<void> {
    await waitFor(condition, async () => (await this.#sh(`if ${condition}; then echo yes; fi`)) !== "", {
      intervalMs: 50,
    });
  }
}
