import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints, isGood, restores } from "../../api/kinds.ts";
import type { CheckpointRestore } from "../../api/restore.ts";
import { pods } from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";
import { confirm } from "../ask.ts";
import { failureOf } from "../checkpoint/take.ts";
import type { Connection } from "../cluster.ts";
import { told } from "../errors.ts";
import { EXIT } from "../exit.ts";
import { hint, type Io, print } from "../io.ts";
import { nameOfObject, OWN } from "../objects/kinds.ts";
import { observe } from "../objects/observe.ts";
import { podsOf } from "../objects/pods.ts";
import type { Target } from "../objects/target.ts";
import { age } from "../output/age.ts";
import { type Format, show } from "../output/print.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";

export interface RestoreOptions {
  checkpoint: string;
  /** Default: the pod that the Checkpoint was taken of. */
  into?: Target;
  container?: string;
  discard: boolean;
  yes: boolean;
  wait: boolean;
  timeoutSeconds?: number;
  output: Format;
}

/**
 * Takes a container back to a Checkpoint, once the person agrees, and follows it to its end. Interrupted before the
 * container is touched it is called off; later it goes on by itself, and that is said.
 *
 * Errors: KcrError with the code that the CheckpointRestore ended with; those of the API.
 */
export async function restoreCheckpoint(
  connection: Connection,
  io: Io,
  options: RestoreOptions,
): Promise<void> {
  const { client, namespace } = connection;
  const { signal } = io;
  const { into, discard, timeoutSeconds, output } = options;
  const checkpoint = await client.get(checkpoints, { namespace, name: options.checkpoint }, { signal });
  if (!isGood(checkpoint)) throw notGood(checkpoint);
  const pod =
    into === undefined
      ? await podOfCheckpoint(connection, checkpoint, signal)
      : await onePod(connection, into, signal);
  const container = options.container ?? checkpoint.spec.containerName;
  const question = [
    `Container ${container} of pod ${pod} goes back to what it was ${age(checkpoint.spec.checkpointTimestamp)} ago.`,
    discard ? "What it is now is lost." : "What it is now is saved first.",
    "Go on?",
  ].join(" ");
  if (!options.yes && !(await confirm(io, safe(question)))) {
    io.stderr.write("nothing was done\n");
    io.exitCode = EXIT.failed;
    return;
  }
  signal.throwIfAborted();
  // Without the signal: a creation that is cut off may have been done, and nobody would call it off.
  const restore = await client.create(restores, {
    apiVersion: API_VERSION,
    kind: restores.kind,
    metadata: { namespace, generateName: `${pod}-` },
    spec: {
      checkpointName: checkpoint.metadata.name,
      podReference: { name: pod },
      ...(options.container === undefined ? {} : { containerName: options.container }),
      discardCurrent: discard,
      ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    },
  });
  const ended = options.wait ? await untilRestored(connection, io, restore) : restore;
  await shown(io, output, ended, options.wait, connection.again);
}

async function shown(
  io: Io,
  output: Format,
  restore: CheckpointRestore,
  ended: boolean,
  again: string,
): Promise<void> {
  const { metadata, spec, status } = restore;
  if (output !== "table" && output !== "wide") {
    const name = () => nameOfObject(OWN.restore.resource, restore);
    return await show(io, output, { columns: [], rows: [restore], data: restore, name });
  }
  if (!ended) return await print(io, `${nameOfObject(OWN.restore.resource, restore)} created`);
  const { strategy, savedCheckpoint, containerName } = status ?? {};
  const by = strategy === "Image" ? "from its image" : "in place";
  await print(
    io,
    safe(
      `container ${containerName} of pod/${spec.podReference.name} runs again from ${spec.checkpointName}, restored ${by}`,
    ),
  );
  if (savedCheckpoint !== undefined) {
    await print(io, `what it was is saved as ${safe(savedCheckpoint)}`);
    hint(io, "", `${io.program} restore ${safe(savedCheckpoint)}${again}   # undoes it`);
  } else {
    hint(io, "", `${io.program} describe restore/${metadata.name}${again}`);
  }
}

/** Errors: KcrError with the code that it ended with, the signal's reason. */
async function untilRestored(
  connection: Connection,
  io: Io,
  restore: CheckpointRestore,
): Promise<CheckpointRestore> {
  using progress = startProgress(io, `restore of pod/${restore.spec.podReference.name}`);
  let last = restore;
  try {
    for await (const now of observe(connection, restores, restore.metadata, io.signal)) {
      if (now === undefined) {
        throw new KcrError(
          "RestoreFailed",
          `CheckpointRestore ${restore.metadata.name} was deleted: it was called off`,
        );
      }
      last = now;
      const { phase, reason, message } = now.status ?? {};
      if (phase === "Completed") return now;
      if (phase === "Failed") throw told(reason, message ?? "the restore failed");
      progress.update({ text: phaseText(now) });
    }
  } finally {
    if (io.signal.aborted) {
      const calledOff = await callOff(connection, last);
      progress.note(
        calledOff
          ? "called off: nothing has happened to the container"
          : `it goes on by itself: ${io.program} describe restore/${restore.metadata.name}${connection.again}`,
      );
    }
  }
  throw io.signal.reason;
}

function phaseText({ status, spec }: CheckpointRestore): string {
  switch (status?.phase) {
    case "SavingCurrent":
      return "what it is now is being saved";
    case "Restoring":
      return `going back to ${spec.checkpointName}`;
    default:
      return status?.message ?? "waiting for the operator of kcr";
  }
}

/** Whether it could be stopped before it had touched the container. */
async function callOff({ client }: Connection, { metadata }: CheckpointRestore): Promise<boolean> {
  const signal = AbortSignal.timeout(5_000);
  const now = await client.get(restores, metadata, { signal }).catch(absent);
  if (now === undefined) return true;
  const isBegun = now.status?.phase !== undefined && !["Pending", "SavingCurrent"].includes(now.status.phase);
  if (isBegun) return false;
  const { uid, resourceVersion } = now.metadata;
  try {
    await client.delete(restores, metadata, { preconditions: { uid, resourceVersion }, signal });
    return true;
  } catch {
    // It went on meanwhile.
    return false;
  }
}

const notGood = (checkpoint: Checkpoint): KcrError =>
  failureOf(checkpoint) ??
  new KcrError("CheckpointNotReady", `Checkpoint ${checkpoint.metadata.name} is not good yet`);

/** The pod that a Checkpoint was taken of, while it is there. */
async function podOfCheckpoint(
  { client, namespace }: Connection,
  { metadata, status }: Checkpoint,
  signal: AbortSignal,
): Promise<string> {
  const { items } = await client.listAll(pods, { namespace, signal });
  const pod = items.find(
    (one) => one.metadata.uid !== undefined && one.metadata.uid === status?.lineage?.podUID,
  );
  if (pod !== undefined) return pod.metadata.name;
  throw new KcrError(
    "PodNotFound",
    `the pod that Checkpoint ${metadata.name} was taken of is gone: say into which pod with --into pod/NAME`,
  );
}

/** The one pod that a target means. Errors: KcrError PodNotFound where there are several. */
async function onePod(connection: Connection, target: Target, signal: AbortSignal): Promise<string> {
  const found = await podsOf(connection, target, signal);
  const [pod, ...more] = found.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  if (pod !== undefined && more.length === 0) return pod.metadata.name;
  const names = found.map(({ metadata }) => metadata.name).join(", ");
  throw new KcrError(
    "PodNotFound",
    `${target.kind.resource.kind} ${target.name} has several pods: name one of ${names}`,
  );
}
