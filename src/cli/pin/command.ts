import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import { checkpoints } from "../../api/kinds.ts";
import { PINNED_ANNOTATION } from "../../api/labels.ts";
import { after, follow } from "../../kube/signals.ts";
import type { Connection } from "../cluster.ts";
import { type Io, print } from "../io.ts";
import { observe } from "../objects/observe.ts";
import { startProgress } from "../output/progress.ts";
import { safe } from "../output/safe.ts";

/** How long the operator has to let a Checkpoint go from its owners, in milliseconds. */
const OPERATOR_MS = 30_000;

/**
 * Pins Checkpoints, or takes that back. A pinned one has no owner any more, which the operator sees to: only then is it
 * safe from the deletion of its workload, so that is waited for.
 *
 * Errors: those of the API; KcrError DeadlineExceeded where no operator acts.
 */
export async function setPinned(
  connection: Connection,
  io: Io,
  names: readonly string[],
  pinned: boolean,
): Promise<void> {
  const { client, namespace } = connection;
  for (const name of names) {
    const body = { metadata: { annotations: { [PINNED_ANNOTATION]: pinned ? "true" : null } } };
    const patched = await client.patch(
      checkpoints,
      { namespace, name },
      { type: "merge", body },
      { signal: io.signal },
    );
    if (pinned) await untilFree(connection, io, patched);
    await print(io, `checkpoint/${safe(name)} ${pinned ? "pinned" : "unpinned"}`);
  }
}

async function untilFree(connection: Connection, io: Io, { metadata }: Checkpoint): Promise<void> {
  using progress = startProgress(io, "waiting for the operator of kcr");
  using limit = follow(io.signal);
  const cancel = after(OPERATOR_MS, () =>
    limit.abort(
      new KcrError(
        "DeadlineExceeded",
        `checkpoint/${metadata.name} is annotated, but no operator has freed it of its owners yet`,
      ),
    ),
  );
  try {
    for await (const now of observe(connection, checkpoints, metadata, limit.signal)) {
      if (now === undefined)
        throw new KcrError("CheckpointNotFound", `checkpoint/${metadata.name} was deleted`);
      if ((now.metadata.ownerReferences ?? []).length === 0) return;
      progress.update({});
    }
  } finally {
    cancel();
  }
}
