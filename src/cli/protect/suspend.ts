import { schedules } from "../../api/kinds.ts";
import { scheduleName } from "../../api/names.ts";
import type { Connection } from "../cluster.ts";
import { OWN } from "../objects/kinds.ts";
import type { Target } from "../objects/target.ts";

/** Suspends a schedule, or lets it go on; a workload means its own. Errors: those of the API. */
export async function setSuspended(
  { client, namespace }: Connection,
  { kind, name: given }: Target,
  suspend: boolean,
  signal: AbortSignal,
): Promise<{ name: string; changed: boolean }> {
  const name = kind === OWN.schedule ? given : scheduleName(given, kind.resource.kind);
  const { spec } = await client.get(schedules, { namespace, name }, { signal });
  if ((spec.suspend ?? false) === suspend) return { name, changed: false };
  await client.patch(
    schedules,
    { namespace, name },
    { type: "merge", body: { spec: { suspend } } },
    { signal },
  );
  return { name, changed: true };
}
