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
import { writeStatus } from "../../../src/kube/write.ts";
import { placeOf, spreadMs } from "../../../src/operator/schedule/decide.ts";

/** What the simulated agents saw of one request. */
export interface Seen {
  /** `<namespace>/<pod>/<slot>`: one request each. */
  key: string;
  /** The slot's due time, in milliseconds since 1970. */
  slot: number;
  /** From the moment at which the schedule was to act on the slot until the request was heard of, in milliseconds. */
  lagMs: number;
}

/**
 * The agents of all nodes, as far as the operator can tell: each request that is stamped with a node becomes a good
 * Checkpoint, after so long. They dump nothing.
 */
export class SimulatedAgents {
  readonly #client: Client;
  readonly #dumpMs: number;
  readonly #intervalMs: number;
  readonly #seen = new Map<string, Seen>();
  readonly #taken = new Set<string>();
  readonly #perNode = new Map<string, number>();
  #working = 0;
  /** The most requests that were given to agents and had not ended, in the cluster and on one node. */
  mostAtOnce = 0;
  mostOnOneNode = 0;
  /** Requests that another one of the same pod and slot had preceded. */
  doubled = 0;
  ended = 0;

  /** `intervalMs` is the time between two slots of every schedule, `dumpMs` what a checkpoint takes. */
  constructor(client: Client, { dumpMs, intervalMs }: { dumpMs: number; intervalMs: number }) {
    this.#client = client;
    this.#dumpMs = dumpMs;
    this.#intervalMs = intervalMs;
  }

  get seen(): readonly Seen[] {
    return [...this.#seen.values()];
  }

  /** Forgets what was seen. */
  reset(): void {
    this.#seen.clear();
    this.mostAtOnce = this.mostOnOneNode = this.doubled = this.ended = 0;
  }

  /** Answers until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const cache = new Cache<CheckpointRequest>({ client: this.#client, resource: requests });
    const uids = new Set<string>();
    cache.subscribe(({ type, object }) => {
      const uid = object.metadata.uid ?? "";
      if (type === "delete") {
        uids.delete(uid);
        this.#taken.delete(uid);
        return;
      }
      const slot = object.metadata.annotations?.[SLOT_ANNOTATION] ?? "";
      const key = `${object.metadata.namespace}/${object.spec.podReference.name}/${slot}`;
      if (!uids.has(uid)) {
        uids.add(uid);
        if (this.#seen.has(key)) this.doubled += 1;
        else
          this.#seen.set(key, {
            key,
            slot: Date.parse(slot),
            lagMs: Date.now() - this.#momentOf(object, slot),
          });
      }
      if (object.status?.nodeName === undefined || isTerminal(object) || this.#taken.has(uid)) return;
      this.#taken.add(uid);
      void this.#answer(object, object.status.nodeName, signal);
    });
    await cache.run(signal);
  }

  #momentOf({ spec }: CheckpointRequest, slot: string): number {
    return Date.parse(slot) + spreadMs(this.#intervalMs, placeOf(spec.checkpointScheduleRef?.uid ?? ""));
  }

  async #answer(request: CheckpointRequest, node: string, signal: AbortSignal): Promise<void> {
    const onNode = (this.#perNode.get(node) ?? 0) + 1;
    this.#perNode.set(node, onNode);
    this.#working += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#working);
    this.mostOnOneNode = Math.max(this.mostOnOneNode, onNode);
    try {
      await delay(this.#dumpMs, signal);
      await this.#complete(request, node);
      this.ended += 1;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#working -= 1;
      this.#perNode.set(node, this.#perNode.get(node)! - 1);
    }
  }

  async #complete(request: CheckpointRequest, node: string): Promise<void> {
    const client = this.#client;
    const { namespace = "" } = request.metadata;
    const pod = request.spec.podReference.name;
    const at = new Date(request.metadata.annotations?.[SLOT_ANNOTATION] ?? 0);
    const name = checkpointName(namespace, { pod, container: "app", defaultContainer: "app", at });
    const now = new Date().toISOString();
    const { checkpointScheduleRef } = request.spec;
    const made = await client
      .create(checkpoints, {
        apiVersion: API_VERSION,
        kind: checkpoints.kind,
        metadata: { name, namespace, ownerReferences: [ownerReference(request)] },
        spec: {
          checkpointData: `checkpoint-${name}.tar`,
          checkpointTimestamp: now,
          checkpointID: name,
          containerName: "app",
          nodeName: node,
          checkpointScheduleRef,
        },
      } as Checkpoint)
      .catch((error: unknown) => {
        if (isAlreadyExists(error)) return undefined;
        throw error;
      });
    if (made === undefined) return;
    await writeStatus(client, checkpoints, made, {
      phase: "ImageBuilt",
      lastTransitionTime: now,
      digest: `sha256:${"0".repeat(64)}`,
      lineage: { podUID: request.status?.podUID ?? "", containerID: `containerd://${pod}`, restartCount: 0 },
      conditions: [
        { type: "Restorable", status: "True", reason: "ImagePushed", message: "", lastTransitionTime: now },
      ],
    });
    await writeStatus(client, requests, request, {
      phase: "Completed",
      completionTime: now,
      checkpoint: { apiVersion: API_VERSION, kind: checkpoints.kind, namespace, name },
    });
  }
}
