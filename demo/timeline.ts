import type { Checkpoint } from "../src/api/checkpoint.ts";
import { LOCAL_COPY, RESTORABLE } from "../src/api/checkpoint.ts";
import { isTrue } from "../src/api/conditions.ts";
import { checkpoints, requests } from "../src/api/kinds.ts";
import type { CheckpointRequest } from "../src/api/request.ts";
import { Cache } from "../src/kube/cache.ts";
import type { Client } from "../src/kube/client.ts";
import type { KubeObject } from "../src/kube/resources.ts";
import { follow } from "../src/kube/signals.ts";
import { megabytes } from "./screen.ts";

/** What there is to say of an object: phases it has come to and conditions it has, each with a few words. */
interface Told {
  kind: "request" | "checkpoint";
  facts: [name: string, note: string][];
}

export function tellRequest({ status }: CheckpointRequest): Told {
  const phase = status?.phase;
  const note = {
    Pending: `for the agent of ${status?.nodeName}`,
    InProgress: `its kubelet dumps container ${status?.containerName}`,
    Completed: "there is a Checkpoint of it",
    Failed: `${status?.reason}: ${status?.message}`,
  };
  return { kind: "request", facts: phase === undefined ? [] : [[phase, note[phase]]] };
}

export function tellCheckpoint({ spec, status }: Checkpoint): Told {
  const phase = status?.phase;
  const frozen = ((status?.frozenMicroseconds ?? 0) / 1000).toFixed(0);
  const note = {
    Created: `${megabytes(status?.sizeBytes ?? 0)}; the container was frozen for ${frozen} ms`,
    Processing: "the archive goes to the registry",
    ImageBuilt: "the registry has it; verified, by digest",
    Failed: status?.failedReason ?? "",
  };
  const facts: Told["facts"] = phase === undefined ? [] : [[phase, note[phase]]];
  if (isTrue(status?.conditions, LOCAL_COPY))
    facts.push([LOCAL_COPY, `unpacked on ${spec.nodeName}, verified`]);
  if (isTrue(status?.conditions, RESTORABLE)) facts.push([RESTORABLE, "a crash goes back to it"]);
  return { kind: "checkpoint", facts };
}

/** The lines that one more look at an object is worth: none when it says what it said before. */
export class Teller {
  readonly #told = new Map<string, Set<string>>();

  lines(name: string, { kind, facts }: Told, time: Date): string[] {
    const key = `${kind}/${name}`;
    const told = this.#told.get(key) ?? new Set();
    const fresh = facts.filter(([fact]) => !told.has(fact));
    if (fresh.length === 0) return [];
    const at = time.toLocaleTimeString("en-GB");
    const row = (rest: string) => `${at.padEnd(10)}${kind.padEnd(12)}${rest}`.trimEnd();
    const first = told.size === 0 ? [row(name)] : [];
    for (const [fact] of fresh) told.add(fact);
    this.#told.set(key, told);
    return [...first, ...fresh.map(([fact, note]) => row(`${fact.padEnd(12)}${note}`))];
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
