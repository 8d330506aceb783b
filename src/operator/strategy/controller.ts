import { findCondition, setCondition } from "../../api/conditions.ts";
import { schedules } from "../../api/kinds.ts";
import { containersOf, STRATEGY } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { hasHandlerReady } from "../../api/selftest.ts";
import { type Strategy, strategyOf } from "../../api/strategy.ts";
import { Controller, changesOf, done, type Outcome, type Source } from "../../kube/controller.ts";
import { type Node, type ObjectName, type Pod, pods } from "../../kube/resources.ts";
import { absent, writeCondition, writeStatus } from "../../kube/write.ts";
import { BY_NODE, type Context, READY_NODES } from "../context.ts";
import { podsOfSchedule, schedulesOfPod } from "../selection.ts";
import { podSummary, scheduleSummary } from "./decide.ts";

/** Condition of a schedule. */
const SCHEDULE_STRATEGY = "Strategy";

/**
 * Says of every protected pod (condition kcr.io/Strategy) and of every schedule that restores (condition Strategy)
 * which way its containers would be restored, and why. It decides nothing: the webhook and the restore controller do.
 */
export function strategyControllers(context: Context): Controller[] {
  const { client, caches, log, now, settings } = context;
  const images = settings.store !== "node" && settings.registry !== undefined;

  /** Each protected container of a pod that is on a node, with the schedule that protects it. */
  const strategiesOf = (pod: Pod): Map<string, Strategy & { schedule: CheckpointSchedule }> => {
    const node = pod.spec?.nodeName;
    if (!node || pod.metadata.deletionTimestamp !== undefined || isOver(pod)) return new Map();
    const protection = protectionOf(pod, schedulesOfPod(caches, pod));
    const existing = new Set(containersOf(pod).map(({ name }) => name));
    const around = {
      runtimeVersion: caches.nodes.get(undefined, node)?.status?.nodeInfo?.containerRuntimeVersion ?? "",
      images,
      handlerNodes: caches.nodes.byIndex(READY_NODES, READY_NODES).length > 0,
    };
    return new Map(
      [...protection]
        .filter(([name]) => existing.has(name))
        .map(([name, { strategy, schedule }]) => [name, { ...strategyOf(pod, strategy, around), schedule }]),
    );
  };

  const reconcilePod = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const pod = caches.pods.get(namespace, name);
    if (pod === undefined || pod.metadata.deletionTimestamp !== undefined || isOver(pod)) return done;
    const summary = podSummary(strategiesOf(pod));
    const old = pod.status?.conditions?.find(({ type }) => type === STRATEGY);
    if (summary === undefined && (old === undefined || !pod.spec?.nodeName)) return done;
    if (
      summary !== undefined &&
      old?.status === summary.status &&
      old.reason === summary.reason &&
      old.message === summary.message
    ) {
      return done;
    }
    const since = old?.status === summary?.status ? old?.lastTransitionTime : undefined;
    const condition =
      summary === undefined
        ? { $patch: "delete", type: STRATEGY }
        : { type: STRATEGY, ...summary, lastTransitionTime: since ?? now().toISOString() };
    await writeCondition(client, pods, pod, condition).catch(absent);
    return done;
  };

  const reconcileSchedule = async ({ namespace, name }: ObjectName): Promise<Outcome> => {
    const schedule = caches.schedules.get(namespace, name);
    if (schedule === undefined || schedule.metadata.deletionTimestamp !== undefined) return done;
    const own = podsOf(schedule).flatMap((pod) =>
      [...strategiesOf(pod).values()].filter((s) => s.schedule.metadata.uid === schedule.metadata.uid),
    );
    const summary = scheduleSummary(own);
    const { conditions } = schedule.status ?? {};
    if (summary === undefined) {
      if (findCondition(conditions, SCHEDULE_STRATEGY) === undefined) return done;
      const others = conditions?.filter(({ type }) => type !== SCHEDULE_STRATEGY);
      await writeStatus(client, schedules, schedule, { conditions: others });
      return done;
    }
    const next = setCondition(conditions, { type: SCHEDULE_STRATEGY, ...summary }, now());
    if (next !== conditions) await writeStatus(client, schedules, schedule, { conditions: next });
    return done;
  };

  const podsOf = (schedule: CheckpointSchedule): Pod[] => podsOfSchedule(caches, schedule);
  const schedulesOf = (pod: Pod): CheckpointSchedule[] => schedulesOfPod(caches, pod);
  const names = (objects: readonly { metadata: ObjectName }[]): ObjectName[] =>
    objects.map(({ metadata }) => ({ namespace: metadata.namespace, name: metadata.name }));

  /** The pods for which a change of a node makes a difference. */
  const touched = (node: Node, previous: Node | undefined): readonly Pod[] => {
    const { name } = node.metadata;
    const is = hasHandlerReady(node) && caches.nodes.get(undefined, name) !== undefined;
    const was = previous !== undefined && hasHandlerReady(previous);
    const others = caches.nodes
      .byIndex(READY_NODES, READY_NODES)
      .some((other) => other.metadata.name !== name);
    // The first node with the handler, or the last.
    if (is !== was && !others) return caches.pods.list();
    const version = ({ status }: Node) => status?.nodeInfo?.containerRuntimeVersion;
    return previous !== undefined && version(previous) === version(node)
      ? []
      : caches.pods.byIndex(BY_NODE, name);
  };
  const protectedBy = (all: readonly Pod[]): Pod[] => all.filter((pod) => schedulesOf(pod).length > 0);
  const changedSpec = (now: CheckpointSchedule, previous: CheckpointSchedule | undefined): boolean =>
    previous === undefined ||
    previous.metadata.generation !== now.metadata.generation ||
    caches.schedules.get(now.metadata.namespace, now.metadata.name) === undefined;
  const moved = (pod: Pod, previous: Pod | undefined): boolean =>
    previous === undefined ||
    previous.spec?.nodeName !== pod.spec?.nodeName ||
    previous.status?.phase !== pod.status?.phase ||
    previous.metadata.deletionTimestamp !== pod.metadata.deletionTimestamp ||
    caches.pods.get(pod.metadata.namespace, pod.metadata.name) === undefined;

  const ofNodes = (map: (pods: readonly Pod[]) => ObjectName[]): Source =>
    changesOf(caches.nodes, (node, previous) => map(protectedBy(touched(node, previous))));

  return [
    new Controller({
      name: "strategy-pod",
      log,
      metrics: context.metrics,
      workers: 4,
      reconcile: reconcilePod,
      sources: [
        changesOf(caches.pods),
        changesOf(caches.schedules, (schedule, previous) =>
          changedSpec(schedule, previous) ? names(podsOf(schedule)) : [],
        ),
        ofNodes(names),
      ],
    }),
    new Controller({
      name: "strategy-schedule",
      log,
      metrics: context.metrics,
      workers: 2,
      reconcile: reconcileSchedule,
      sources: [
        changesOf(caches.schedules),
        changesOf(caches.pods, (pod, previous) => (moved(pod, previous) ? names(schedulesOf(pod)) : [])),
        ofNodes((all) => names(all.flatMap(schedulesOf))),
      ],
    }),
  ];
}

const isOver = ({ status }: Pod): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";
