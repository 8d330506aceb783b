import type { Checkpoint } from "../src/api/checkpoint.ts";
import { RESTORABLE } from "../src/api/checkpoint.ts";
import { isTrue } from "../src/api/conditions.ts";
import { checkpoints, requests } from "../src/api/kinds.ts";
import type { CheckpointRequest } from "../src/api/request.ts";
import { Cache } from "../src/kube/cache.ts";
import type { Client } from "../src/kube/client.ts";
import type { KubeObject } from "../src/kube/resources.ts";
import { follow } from "../src/kube/signals.ts";
import { megabytes } from "./screen.ts";

/** What there is to say of an object; no phase: nothing yet. */
interface Told {
  kind: "request" | "checkpoint";
  phase?: string;
  note: string;
}

export function tellRequest({ status }: CheckpointRequest): Told {
  const phase = status?.phase;
  const note = {
    Pending: `for the agent of ${status?.nodeName}`,
    InProgress: `the kubelet of ${status?.nodeName} dumps container ${status?.containerName}`,
    Completed: "there is a Checkpoint of it",
    Failed: `${status?.reason}: ${status?.message}`,
  };
  return { kind: "request", phase, note: phase === undefined ? "" : note[phase] };
}

export function tellCheckpoint({ status }: Checkpoint): Told {
  const phase = status?.phase;
  const frozen = ((status?.frozenMicroseconds ?? 0) / 1000).toFixed(0);
  const note = {
    Created: `${megabytes(status?.sizeBytes ?? 0)} on the node; the container was frozen for ${frozen} ms`,
    Processing: "the archive goes to the registry, as an image",
    ImageBuilt: isTrue(status?.conditions, RESTORABLE)
      ? "Restorable: the image was verified, by digest"
      : "not restorable",
    Failed: status?.failedReason ?? "",
  };
  return { kind: "checkpoint", phase, note: phase === undefined ? "" : note[phase] };
}

/** The lines that one more look at an object is worth: none when it says what it said before. */
export class Teller {
  readonly #last = new Map<string, string>();

  lines(name: string, { kind, phase, note }: Told, time: Date): string[] {
    const key = `${kind}/${name}`;
    const last = this.#last.get(key);
    if (phase === undefined || last === phase) return [];
    this.#last.set(key, phase);
    const at = time.toLocaleTimeString("en-GB");
    const row = (first: string, rest: string) => `${first.padEnd(10)}${kind.padEnd(12)}${rest}`.trimEnd();
    const first = last === undefined ? [row(at, name)] : [];
    return [...first, row(at, `${phase.padEnd(12)}${note}`)];
  }
}

/** Requests and Checkpoints of a namespace as they appear and change. */
export interface Timeline extends AsyncDisposable {
  requests(): CheckpointRequest[];
  checkpoints(): Checkpoint[];
}

/**
 * Follows a namespace until disposed.
 *
 * @param tell called with a line for everything that is new.
 */
export async function followNamespace(
  client: Client,
  namespace: string,
  tell: (line: string) => void,
  signal: AbortSignal,
): Promise<Timeline> {
  const stop = follow(signal);
  const caches = {
    requests: new Cache({ client, resource: requests, namespace }),
    checkpoints: new Cache({ client, resource: checkpoints, namespace }),
  };
  const running = Promise.all(Object.values(caches).map((cache) => cache.run(stop.signal)));
  await Promise.all(Object.values(caches).map((cache) => cache.waitForSync(stop.signal)));

  const teller = new Teller();
  const say = ({ metadata }: KubeObject, told: Told) => {
    for (const line of teller.lines(metadata.name, told, new Date())) tell(line);
  };
  caches.requests.subscribe(({ type, object }) => type === "apply" && say(object, tellRequest(object)));
  caches.checkpoints.subscribe(({ type, object }) => type === "apply" && say(object, tellCheckpoint(object)));

  return {
    requests: () => caches.requests.list(),
    checkpoints: () => caches.checkpoints.list(),
    async [Symbol.asyncDispose]() {
      stop.abort(new Error("the timeline ends"));
      stop[Symbol.dispose]();
      await running;
    },
  };
}
