import type { Checkpoint } from "../../../src/api/checkpoint.ts";
import { API_VERSION } from "../../../src/api/group.ts";
import { checkpoints, isTerminal, requests } from "../../../src/api/kinds.ts";
import { SLOT_ANNOTATION } from "../../../src/api/labels.ts";
import { checkpointName } from "../../../src/api/names.ts";
import type { CheckpointRequest } from "../../../src/api/request.ts";
import { Cache } from "../../../src/kube/cache.ts";
import type { Client } from "../../../src/kube/client.ts";
import { isAlreadyExists } from "../../../src/kube/errors.ts";
import { ownerReference } from "../../../src/kube/owner.ts";
import { delay } from "../../../src/kube/signals.ts";
import { updateStatus } from "../../../src/kube/write.ts";
import { placeOf, spreadMs } from "../../../src/operator/schedule/decide.ts";
import { persistently } from "./parallel.ts";

/** What became of one slot of all schedules. */
export interface Slot {
  /** How long after a schedule was to act on the slot its request was heard of, in milliseconds, by pod. */
  readonly lagMs: ReadonlyMap<string, number>;
  /** Requests that another one of the same pod had preceded. */
  readonly doubled: number;
  /** Requests that an agent has completed. */
  readonly ended: number;
}

/**
 * The agents of all nodes, as far as the operator can tell: each request that is stamped with a node becomes a good
 * Checkpoint, after so long. They dump nothing.
 */
export class SimulatedAgents {
  readonly #client: Client;
  readonly #dumpMs: number;
  readonly #intervalMs: number;
  readonly #slots = new Map<number, { lagMs: Map<string, number>; doubled: number; ended: number }>();
  readonly #seen = new Set<string>();
  readonly #taken = new Set<string>();
  readonly #perNode = new Map<string, number>();
  readonly #failed = Promise.withResolvers<never>();
  #working = 0;
  /** The most requests that agents had in hand, in the cluster and on one node. */
  mostAtOnce = 0;
  mostOnOneNode = 0;

  /** `intervalMs` is the time between two slots of every schedule, `dumpMs` what a checkpoint takes. */
  constructor(client: Client, { dumpMs, intervalMs }: { dumpMs: number; intervalMs: number }) {
    this.#client = client;
    this.#dumpMs = dumpMs;
    this.#intervalMs = intervalMs;
  }

  /** The slot that is due then, in milliseconds since 1970. */
  slot(due: number): Slot {
    return this.#slot(due);
  }

  /** Answers until the signal aborts. Errors: an answer that the API server did not take. */
  async run(signal: AbortSignal): Promise<void> {
    const cache = new Cache<CheckpointRequest>({ client: this.#client, resource: requests });
    cache.subscribe(({ type, object }) => {
      if (type === "apply") this.#take(object, signal);
    });
    await Promise.race([cache.run(signal), this.#failed.promise]);
  }

  #slot(due: number) {
    const slot = this.#slots.get(due) ?? { lagMs: new Map<string, number>(), doubled: 0, ended: 0 };
    this.#slots.set(due, slot);
    return slot;
  }

  #take(request: CheckpointRequest, signal: AbortSignal): void {
    const { metadata, spec, status } = request;
    const uid = metadata.uid ?? "";
    const due = Date.parse(metadata.annotations?.[SLOT_ANNOTATION] ?? "");
    const slot = this.#slot(due);
    if (!this.#seen.has(uid)) {
      this.#seen.add(uid);
      const pod = `${metadata.namespace}/${spec.podReference.name}`;
      const moment = due + spreadMs(this.#intervalMs, placeOf(spec.checkpointScheduleRef?.uid ?? ""));
      if (slot.lagMs.has(pod)) slot.doubled += 1;
      else slot.lagMs.set(pod, Date.now() - moment);
    }
    if (status?.nodeName === undefined || isTerminal(request) || this.#taken.has(uid)) return;
    this.#taken.add(uid);
    this.#answer(request, status.nodeName, signal)
      .then(() => {
        slot.ended += 1;
      })
      .catch(this.#failed.reject);
  }

  async #answer(request: CheckpointRequest, node: string, signal: AbortSignal): Promise<void> {
    this.#inHand(node, 1);
    await delay(this.#dumpMs, signal);
    const checkpoint = await persistently(signal, () => this.#checkpoint(request, node));
    // Whoever sees that it has ended may give the node the next one.
    this.#inHand(node, -1);
    const completed = {
      phase: "Completed",
      completionTime: checkpoint.spec.checkpointTimestamp,
      checkpoint: { apiVersion: API_VERSION, kind: checkpoints.kind, ...place(checkpoint) },
    };
    await persistently(signal, () =>
      updateStatus(this.#client, requests, request, (current) =>
        isTerminal(current) ? undefined : completed,
      ),
    );
  }

  #inHand(node: string, by: 1 | -1): void {
    const onNode = (this.#perNode.get(node) ?? 0) + by;
    this.#perNode.set(node, onNode);
    this.#working += by;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#working);
    this.mostOnOneNode = Math.max(this.mostOnOneNode, onNode);
  }

  async #checkpoint(request: CheckpointRequest, nodeName: string): Promise<Checkpoint> {
    const client = this.#client;
    const { namespace = "" } = request.metadata;
    const pod = request.spec.podReference.name;
    const at = new Date(request.metadata.annotations?.[SLOT_ANNOTATION] ?? 0);
    const name = checkpointName(namespace, { pod, container: "app", defaultContainer: "app", at });
    const now = new Date().toISOString();
    const draft: Checkpoint = {
      apiVersion: API_VERSION,
      kind: checkpoints.kind,
      metadata: { name, namespace, ownerReferences: [ownerReference(request)] },
      spec: {
        checkpointData: `checkpoint-${name}.tar`,
        checkpointTimestamp: now,
        checkpointID: name,
        containerName: "app",
        nodeName,
        checkpointScheduleRef: request.spec.checkpointScheduleRef,
      },
    };
    const made = await client.create(checkpoints, draft).catch((error: unknown) => {
      if (isAlreadyExists(error)) return client.get(checkpoints, { namespace, name });
      throw error;
    });
    const good = {
      phase: "ImageBuilt",
      lastTransitionTime: now,
      digest: `sha256:${"0".repeat(64)}`,
      lineage: { podUID: request.status?.podUID ?? "", containerID: `containerd://${pod}`, restartCount: 0 },
      conditions: [
        { type: "Restorable", status: "True", reason: "ImagePushed", message: "", lastTransitionTime: now },
      ],
    };
    await updateStatus(client, checkpoints, made, ({ status }) =>
      status?.phase === "ImageBuilt" ? undefined : good,
    );
    return made;
  }
}

const place = ({ metadata: { namespace = "", name } }: Checkpoint) => ({ namespace, name });
