import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { requests } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { Pod } from "../../kube/resources.ts";
import { pods } from "../../kube/resources.ts";
import { after, follow } from "../../kube/signals.ts";
import { absent } from "../../kube/write.ts";
import type { Connection } from "../cluster.ts";
import { errorLines, explain } from "../errors.ts";
import { EXIT } from "../exit.ts";
import { hint, type Io } from "../io.ts";
import { nameOfObject, OWN } from "../objects/kinds.ts";
import { podsOf } from "../objects/pods.ts";
import type { Target } from "../objects/target.ts";
import { type Format, show } from "../output/print.ts";
import { startProgress } from "../output/progress.ts";
import { askForCheckpoint, containersWanted, untilGood, type Wanted } from "./take.ts";
import { checkpointColumns } from "./view.ts";

export interface TakeOptions {
  targets: readonly Target[];
  /** Pods by their labels, besides. */
  selector?: string;
  containers?: readonly string[];
  allContainers?: boolean;
  wait: boolean;
  timeoutSeconds?: number;
  output: Format;
}

/** What a request has besides its own deadline until its Checkpoint has to be good, in milliseconds. */
const STORING_MS = 120_000;

/**
 * Takes checkpoints of containers and shows what came of it. A person who interrupts calls off what has not become a
 * Checkpoint yet: nothing of it is left.
 *
 * Errors: those of the API while it is asked for them, which name what was asked for before: that goes on. What fails of
 * one container is printed, the others go on.
 */
export async function takeCheckpoints(connection: Connection, io: Io, options: TakeOptions): Promise<void> {
  const { timeoutSeconds, wait, output } = options;
  const wanted = containersWanted(await podsWanted(connection, options, io.signal), {
    containers: options.containers,
    all: options.allContainers,
  });
  if (wanted.length === 0) throw new KcrError("NoMatchingPods", "no pod matches the selector");

  const pending = new Set<CheckpointRequest>();
  const asked: { of: Wanted; request: CheckpointRequest }[] = [];
  try {
    for (const of of wanted) {
      io.signal.throwIfAborted();
      const request = await askForCheckpoint(connection, of, timeoutSeconds).catch((cause: unknown) => {
        throw withThose(asked, cause);
      });
      pending.add(request);
      asked.push({ of, request });
    }
    if (!wait) {
      pending.clear();
      const rows = asked.map(({ request }) => request);
      return await show(io, output, {
        columns: [
          { header: "REQUEST", value: ({ metadata }) => metadata.name },
          { header: "POD", value: ({ spec }) => spec.podReference.name },
          { header: "CONTAINER", value: ({ spec }) => spec.containerName },
        ],
        rows,
        data: listOf(rows),
        name: (request) => nameOfObject(OWN.request.resource, request),
      });
    }
    const taken = await waitForAll(connection, io, asked, pending, timeoutSeconds ?? 300);
    if (taken.length > 0) {
      await show(io, output, {
        columns: checkpointColumns,
        rows: taken,
        data: listOf(taken),
        name: (checkpoint) => nameOfObject(OWN.checkpoint.resource, checkpoint),
      });
    }
    if (taken.length < asked.length) io.exitCode = EXIT.failed;
    else hint(io, "", `${io.program} restore ${taken[0]?.metadata.name}${connection.again}`);
  } finally {
    if (io.signal.aborted) await callOff(connection, pending);
  }
}

/** What refused one request, with those that were made before it, for they go on. */
function withThose(asked: readonly { request: CheckpointRequest }[], cause: unknown): unknown {
  if (asked.length === 0) return cause;
  const { code, message } = explain(cause);
  const names = asked.map(({ request }) => nameOfObject(OWN.request.resource, request)).join(", ");
  return new KcrError(code, `${message}; asked for before, and going on: ${names}`, { cause });
}

async function podsWanted(
  connection: Connection,
  { targets, selector }: TakeOptions,
  signal: AbortSignal,
): Promise<Pod[]> {
  const found = new Map<string, Pod>();
  for (const target of targets) {
    for (const pod of await podsOf(connection, target, signal)) found.set(pod.metadata.name, pod);
  }
  if (selector !== undefined) {
    const { client, namespace } = connection;
    const { items } = await client.listAll(pods, { namespace, labelSelector: selector, signal });
    for (const pod of items) found.set(pod.metadata.name, pod);
  }
  return [...found.values()];
}

async function waitForAll(
  connection: Connection,
  io: Io,
  asked: readonly { of: Wanted; request: CheckpointRequest }[],
  pending: Set<CheckpointRequest>,
  timeoutSeconds: number,
): Promise<Checkpoint[]> {
  using limit = follow(io.signal);
  const limitMs = timeoutSeconds * 1000 + STORING_MS;
  const cancel = after(limitMs, () =>
    limit.abort(new KcrError("DeadlineExceeded", `no good checkpoint within ${limitMs / 1000} s`)),
  );
  using progress = startProgress(io, asked.length === 1 ? "checkpoint" : `${asked.length} checkpoints`);
  const results = new Map<CheckpointRequest, Checkpoint>();
  let ended = 0;
  try {
    await Promise.all(
      asked.map(async ({ of, request }) => {
        const what = `pod/${of.pod} container ${of.container}`;
        const count = () => (asked.length === 1 ? "" : `${ended} of ${asked.length} done, `);
        try {
          const checkpoint = await untilGood(
            connection,
            request,
            (text) => progress.update({ text: `${count()}${what} is ${text}` }),
            limit.signal,
          );
          results.set(request, checkpoint);
          pending.delete(request);
        } catch (error) {
          if (io.signal.aborted) throw error;
          pending.delete(request);
          const [first = "", ...rest] = errorLines(error);
          progress.note(`${first.replace(/^error: /, `error: ${what}: `)}`);
          for (const line of rest) progress.note(line);
        } finally {
          ended++;
        }
      }),
    );
  } finally {
    cancel();
  }
  return asked.flatMap(({ request }) => results.get(request) ?? []);
}

/** Deletes requests that have come to nothing yet; with each goes what it has already made. */
async function callOff({ client }: Connection, pending: ReadonlySet<CheckpointRequest>): Promise<void> {
  const signal = AbortSignal.timeout(5_000);
  await Promise.all(
    [...pending].map(({ metadata }) =>
      client.delete(requests, metadata, { preconditions: { uid: metadata.uid }, signal }).catch(absent),
    ),
  );
}

/** Objects as `-o json` shows them: one as it is, several as a List. */
export const listOf = (items: readonly object[]): object =>
  items.length === 1 ? items[0]! : { apiVersion: "v1", kind: "List", items };
