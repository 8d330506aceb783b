import type { KcrError } from "../../api/errors.ts";
import { PRESSURE_ANNOTATION } from "../../api/labels.ts";
import { runtimeID } from "../../api/pod.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { nodes } from "../../kube/resources.ts";
import type { Context } from "../context.ts";
import type { Dumpable } from "../dump/decide.ts";
import { mayHaveCopy } from "../store/decide.ts";
import { memoryOf } from "./memory.ts";
import { lackOf, roomsOf } from "./room.ts";

/** How often the file systems are looked at, in milliseconds. */
const LOOK_MS = 10_000;
/** Pressure ends when there is a tenth more than the reserve: it must not come and go with each dump. */
const RELIEF = 1.1;

/**
 * Tells how much room is left for checkpoints: by metric, and where it is less than the reserve by the annotation
 * kcr.io/disk-pressure of the agent's node and an Event. The operator removes first what lies on such nodes.
 */
export function diskController(context: Context): Controller {
  const { node, client, caches, settings, recorder, log, metrics } = context;
  const { reserveBytes } = settings.disk;

  const reconcile = async (): Promise<Outcome> => {
    const current = caches.nodes.get(undefined, node);
    if (current === undefined) return done;
    const rooms = await roomsOf(settings);
    for (const { name, freeBytes } of rooms) metrics?.set("kcr_disk_room_bytes", { of: name }, freeBytes);
    const told = current.metadata.annotations?.[PRESSURE_ANNOTATION];
    const lack = lackOf(rooms, { archive: 0, copy: 0 }, reserveBytes * (told === undefined ? 1 : RELIEF));
    metrics?.set("kcr_disk_pressure", {}, lack === undefined ? 0 : 1);
    if ((lack === undefined) === (told === undefined)) return again(LOOK_MS);
    const annotations = { [PRESSURE_ANNOTATION]: lack === undefined ? null : lack.message };
    await client.patch(nodes, { name: node }, { type: "merge", body: { metadata: { annotations } } });
    if (lack === undefined) log.info({}, "there is room for checkpoints again");
    else {
      log.warn({ code: lack.code, err: lack }, "there is no room for checkpoints");
      recorder.record({
        regarding: { ...current, apiVersion: "v1", kind: nodes.kind },
        type: "Warning",
        reason: lack.code,
        action: "Checkpoint",
        note: lack.advice,
      });
    }
    return again(LOOK_MS);
  };

  return new Controller({
    name: "disk",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [changesOf(caches.nodes)],
  });
}

/**
 * Why a container must not be dumped for lack of room, judged before anything of it is touched: by the memory that it
 * uses now, or else by its largest Checkpoint of before.
 */
export async function lackFor(
  { settings, caches, log }: Pick<Context, "settings" | "caches" | "log">,
  { pod, container, status }: Pick<Dumpable, "pod" | "container" | "status">,
  measure: typeof memoryOf = memoryOf,
): Promise<KcrError | undefined> {
  const { reserveBytes } = settings.disk;
  if (reserveBytes === 0) return undefined;
  const measured = await measure(runtimeID(status.containerID) ?? "").catch((err: unknown) => {
    log.warn({ err }, "how much memory the container has could not be found out");
    return undefined;
  });
  const before = caches.checkpoints
    .list()
    .filter((c) => c.status?.lineage?.podUID === pod.metadata.uid && c.spec.containerName === container.name)
    .map((c) => c.status?.sizeBytes ?? 0);
  const archive = measured ?? Math.max(0, ...before);
  const isUnpacked = mayHaveCopy(
    { status: { handler: pod.spec?.runtimeClassName } } as Parameters<typeof mayHaveCopy>[0],
    settings.store,
  );
  return lackOf(await roomsOf(settings), { archive, copy: isUnpacked ? archive : 0 }, reserveBytes);
}
