import { checkpoints, requests, restores, schedules } from "../../api/kinds.ts";
import type { KubeObject, ObjectName } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { type Io, print } from "../io.ts";
import { OWN } from "../objects/kinds.ts";
import type { Target } from "../objects/target.ts";
import { painter } from "../output/colour.ts";
import { safe } from "../output/safe.ts";
import { conditionLines, eventLines, fields, section } from "./blocks.ts";
import { eventsOf } from "./events.ts";
import {
  type Description,
  describeCheckpoint,
  describeRequest,
  describeRestore,
  describeSchedule,
} from "./objects.ts";

/** Shows all that is known of kcr's objects, and what can be done with them. Errors: those of the API. */
export async function describeAll(connection: Connection, io: Io, targets: readonly Target[]): Promise<void> {
  const paint = painter(io);
  for (const [at, target] of targets.entries()) {
    const { object, description } = await look(connection, target, io.signal);
    const events = await eventsOf(connection, object, io.signal);
    await print(
      io,
      ...(at === 0 ? [] : ["", ""]),
      ...fields(description.fields),
      ...(description.sections ?? []).flatMap(({ heading, lines }) =>
        section(heading, lines.map(safe), paint),
      ),
      ...section(
        "Conditions",
        description.conditions.length > 0 ? conditionLines(description.conditions, paint) : [],
        paint,
      ),
      ...section("Events", eventLines(events, paint), paint),
      ...section(
        "Next",
        description.next.map((line) => safe(`${io.program} ${line}${connection.again}`)),
        paint,
      ),
    );
  }
}

async function look(
  { client, namespace }: Connection,
  { kind, name }: Target,
  signal: AbortSignal,
): Promise<{ object: KubeObject; description: Description }> {
  const at: ObjectName = { namespace, name };
  switch (kind) {
    case OWN.schedule: {
      const object = await client.get(schedules, at, { signal });
      return { object, description: describeSchedule(object) };
    }
    case OWN.request: {
      const object = await client.get(requests, at, { signal });
      return { object, description: describeRequest(object) };
    }
    case OWN.restore: {
      const object = await client.get(restores, at, { signal });
      return { object, description: describeRestore(object) };
    }
    default: {
      const object = await client.get(checkpoints, at, { signal });
      return { object, description: describeCheckpoint(object) };
    }
  }
}
