import { readFile } from "node:fs/promises";
import { type Checkpoint, LOCAL_COPY } from "../../src/api/checkpoint.ts";
import { findCondition } from "../../src/api/conditions.ts";
import { checkpoints, isGood, isPoisoned, requests } from "../../src/api/kinds.ts";
import { LABEL_POD } from "../../src/api/labels.ts";
import { runtimeID } from "../../src/api/pod.ts";
import type { CheckpointRequest } from "../../src/api/request.ts";
import type { Pod } from "../../src/kube/resources.ts";
import { delay } from "../../src/kube/signals.ts";
import { parsePlan } from "../../src/store/plan.ts";
import { layoutOf } from "../support/transfer.ts";
import type { World } from "../support/world.ts";
import type { Taken } from "./ledger.ts";
import { CONTAINER, type Workload } from "./workloads.ts";

const EACH_MS = 2_000;
/** So long after all is calm a good Checkpoint stands in its node's plan. */
const PLANNED_MS = 30_000;

/** Looks at requests and Checkpoints of a namespace, and remembers since when each was good. */
export class Observer {
  readonly #world: World;
  /** Since when nothing has been broken on purpose, in milliseconds since 1970; undefined: something is. */
  readonly #calmSince: () => number | undefined;
  readonly #goodSince = new Map<string, number>();
  /** Digests of manifests of all images there have been, by Checkpoint. */
  readonly images = new Map<string, { repository: string; digest: string }>();
  readonly #uids = new Set<string>();
  checkpoints: Checkpoint[] = [];
  requests: CheckpointRequest[] = [];

  constructor(world: World, calmSince: () => number | undefined) {
    this.#world = world;
    this.#calmSince = calmSince;
  }

  /** How many Checkpoints there have ever been. */
  get made(): number {
    return this.#uids.size;
  }

  /** Errors: those of the API server. */
  async look(): Promise<void> {
    const { client, namespace } = this.#world;
    const [taken, asked] = await Promise.all([
      client.listAll(checkpoints, { namespace, timeoutMs: 10_000 }),
      client.listAll(requests, { namespace, timeoutMs: 10_000 }),
    ]);
    this.checkpoints = taken.items;
    this.requests = asked.items;
    for (const checkpoint of taken.items) {
      const { uid = "" } = checkpoint.metadata;
      this.#uids.add(uid);
      const { checkpointImage: repository, imageDigest: digest } = checkpoint.status ?? {};
      if (repository !== undefined && digest !== undefined) this.images.set(uid, { repository, digest });
      if (!isGood(checkpoint) || isPoisoned(checkpoint)) this.#goodSince.delete(uid);
      else if (!this.#goodSince.has(uid)) this.#goodSince.set(uid, Date.now());
    }
  }

  /** Looks every two seconds; what it saw last stays while the API server does not answer. */
  async watch(end: AbortSignal): Promise<void> {
    while (!end.aborted) {
      await this.look().catch(() => {});
      await delay(EACH_MS, end).catch(() => {});
    }
  }

  of(pod: Pod): Checkpoint[] {
    return this.checkpoints.filter(({ metadata }) => metadata.labels?.[LABEL_POD] === pod.metadata.name);
  }

  requestsOf(pod: Pod): CheckpointRequest[] {
    return this.requests.filter(({ spec }) => spec.podReference.name === pod.metadata.name);
  }

  isGood = ({ metadata }: Checkpoint): boolean => this.#goodSince.has(metadata.uid ?? "");

  /**
   * Checkpoints of a pod, and which of them a crash must be restored from. By strategy Image that is each good one;
   * the handler restores what its node's plan names, which follows a little later, or later still when something is
   * broken: so there those count that the plan has, and those that it had all the time in the world to take up.
   */
  async takenOf(workload: Workload, pod: Pod): Promise<Taken[]> {
    const planned = workload.strategy === "Runtime" ? await this.#planned(workload, pod) : undefined;
    const now = Date.now();
    const calm = now - (this.#calmSince() ?? now);
    return this.of(pod).map((checkpoint) => {
      const { name, uid = "" } = checkpoint.metadata;
      const since = this.#goodSince.get(uid);
      const isSettled = since !== undefined && Math.min(now - since, calm) > PLANNED_MS;
      return {
        name,
        containerID: runtimeID(checkpoint.status?.lineage?.containerID) ?? "",
        at: Date.parse(checkpoint.spec.checkpointTimestamp),
        counts:
          workload.strategy === "Image"
            ? since !== undefined
            : planned === uid ||
              (isSettled && findCondition(checkpoint.status?.conditions, LOCAL_COPY) !== undefined),
      };
    });
  }

  /** UID of the Checkpoint that the pod's node would restore now. */
  async #planned({ node }: Workload, pod: Pod): Promise<string | undefined> {
    const path = layoutOf(this.#world, node).plan({ podUID: pod.metadata.uid ?? "", container: CONTAINER });
    const text = await readFile(path, "utf8").catch(() => "");
    return parsePlan(text)?.candidates[0]?.uid;
  }
}
