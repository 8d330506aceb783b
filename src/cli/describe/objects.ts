import type { Checkpoint } from "../../api/checkpoint.ts";
import type { Condition } from "../../api/common.ts";
import { isGood, isTerminal } from "../../api/kinds.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { CheckpointRestore } from "../../api/restore.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import { restorePolicy } from "../../api/schedule.ts";
import { controllerOf } from "../../kube/owner.ts";
import { podOf, stateOf } from "../checkpoint/view.ts";
import { selectorText } from "../objects/selector.ts";
import { relative } from "../output/age.ts";
import { duration, size } from "../output/sizes.ts";
import { isPinned } from "../pin/command.ts";

/** An object as `describe` shows it. */
export interface Description {
  fields: (readonly [name: string, value: string | number | undefined])[];
  /** Parts with a heading of their own; lines made safe. */
  sections?: { heading: string; lines: string[] }[];
  conditions: readonly Condition[];
  /** Commands of this program that a person may want to run next. */
  next: string[];
}

const at = (time: string | undefined): string | undefined =>
  time === undefined ? undefined : `${time} (${relative(time)})`;

export function describeCheckpoint(checkpoint: Checkpoint): Description {
  const { metadata, spec, status } = checkpoint;
  const { name } = metadata;
  const { lineage, environment: from } = status ?? {};
  const pinned = isPinned(checkpoint);
  return {
    fields: [
      ["Name", name],
      ["Namespace", metadata.namespace],
      ["State", stateOf(checkpoint)],
      ["Phase", status?.phase],
      ["Why it failed", status?.failedReason],
      ["Pod", podOf(checkpoint)],
      ["Container", spec.containerName],
      ["Taken", at(spec.checkpointTimestamp)],
      ["Taken by", spec.checkpointScheduleRef && `schedule/${spec.checkpointScheduleRef.name}`],
      ["Pinned", pinned ? "yes: it does not go with its workload" : undefined],
      ["Size", status?.sizeBytes && `${size(status.sizeBytes)} (${status.sizeBytes} bytes)`],
      ["Frozen", status?.frozenMicroseconds && duration(status.frozenMicroseconds)],
      ["Paused", status?.pausedMicroseconds && duration(status.pausedMicroseconds)],
      ["Node", spec.nodeName],
      ["Digest", status?.digest],
      ["Image", status?.runtimeImage],
      ["Made from", status?.baseImage],
      ["Engine", status?.engine],
      ["Runtime", [from?.engine, from?.engineVersion].filter(Boolean).join(" ")],
      ["Kernel", [from?.kernel, from?.architecture].filter(Boolean).join(" ")],
      ["Handler", status?.handler],
      ["Run", lineage && `container ${lineage.containerID.slice(0, 12)}, restart ${lineage.restartCount}`],
      ["Came from", lineage?.parent && `checkpoint/${lineage.parent}`],
      [
        "Restored",
        status?.restoredCount && `${status.restoredCount} times, last ${at(status.lastRestoredTime)}`,
      ],
    ],
    sections: [
      {
        heading: "Copies",
        lines: (status?.copies ?? []).map(({ kind, node, image, verifiedTime }) =>
          [
            kind === "Node" ? `node ${node}` : `registry ${image}`,
            verifiedTime && `verified ${at(verifiedTime)}`,
          ]
            .filter(Boolean)
            .join(", "),
        ),
      },
    ],
    conditions: status?.conditions ?? [],
    next: [
      ...(isGood(checkpoint) ? [`restore ${name}`, `inspect ${name}`, `download ${name}`] : []),
      pinned ? `unpin ${name}` : `pin ${name}`,
      `delete checkpoint/${name}`,
    ],
  };
}

export function describeSchedule(schedule: CheckpointSchedule): Description {
  const { metadata, spec, status } = schedule;
  const owner = controllerOf(schedule);
  const restore = restorePolicy.parse(spec.restore ?? {});
  const target = owner === undefined ? metadata.name : `${owner.kind.toLowerCase()}/${owner.name}`;
  return {
    fields: [
      ["Name", metadata.name],
      ["Namespace", metadata.namespace],
      ["Workload", owner && `${owner.kind} ${owner.name}`],
      ["Schedule", `${spec.schedule} (${spec.timeZone ?? "UTC"})`],
      ["Suspended", spec.suspend ? "yes" : undefined],
      ["Pods", `${selectorText(spec.selector)}${spec.pods === "One" ? " (the first by name)" : ""}`],
      ["Containers", spec.containers?.join(", ") ?? "each pod's default one"],
      ["Timeout", spec.timeoutSeconds && `${spec.timeoutSeconds} s`],
      ["Concurrency", spec.concurrencyPolicy],
      ["Last good", at(status?.lastSuccessfulTime)],
      ["Last run", at(status?.lastRunTime)],
      ["Next run", spec.suspend ? undefined : at(status?.nextRunTime)],
      [
        "Restore",
        restore.policy === "Never"
          ? "never by itself"
          : `on failure, strategy ${restore.strategy}, fallback ${restore.fallback}, ${restore.maxAttempts} attempts`,
      ],
      ["On change", restore.policy === "Never" ? undefined : restore.onSpecChange],
      ["Volumes", restore.policy === "Never" ? undefined : restore.volumes],
    ],
    conditions: status?.conditions ?? [],
    next: [
      "status",
      `history ${owner === undefined ? `schedule/${metadata.name}` : target}`,
      `schedule ${spec.suspend ? "resume" : "suspend"} ${metadata.name}`,
    ],
  };
}

export function describeRequest(request: CheckpointRequest): Description {
  const { metadata, spec, status } = request;
  const made = status?.checkpoint?.name;
  return {
    fields: [
      ["Name", metadata.name],
      ["Namespace", metadata.namespace],
      ["Phase", status?.phase ?? "Pending"],
      ["Reason", status?.reason],
      ["Message", status?.message],
      ["Pod", spec.podReference.name],
      ["Container", status?.containerName ?? spec.containerName],
      ["Asked by", spec.checkpointScheduleRef && `schedule/${spec.checkpointScheduleRef.name}`],
      ["Timeout", spec.timeoutSeconds && `${spec.timeoutSeconds} s`],
      ["Node", status?.nodeName],
      ["Accepted", at(status?.acceptedTime)],
      ["Started", at(status?.startTime)],
      ["Ended", at(status?.completionTime)],
      ["Checkpoint", made],
    ],
    conditions: status?.conditions ?? [],
    next: [
      ...(made === undefined ? [] : [`describe checkpoint/${made}`, `restore ${made}`]),
      ...(status?.phase === "Failed" ? [`checkpoint pod/${spec.podReference.name}`] : []),
      `delete request/${metadata.name}`,
    ],
  };
}

export function describeRestore(restore: CheckpointRestore): Description {
  const { metadata, spec, status } = restore;
  const saved = status?.savedCheckpoint;
  return {
    fields: [
      ["Name", metadata.name],
      ["Namespace", metadata.namespace],
      ["Phase", status?.phase ?? "Pending"],
      ["Reason", status?.reason],
      ["Message", status?.message],
      ["Checkpoint", spec.checkpointName],
      ["Pod", spec.podReference.name],
      ["Container", status?.containerName ?? spec.containerName],
      ["What it was", saved ? `saved as checkpoint/${saved}` : spec.discardCurrent ? "discarded" : undefined],
      ["Strategy", status?.strategy],
      ["Node", status?.nodeName],
      ["Accepted", at(status?.acceptedTime)],
      ["Ended", at(status?.completionTime)],
    ],
    conditions: status?.conditions ?? [],
    next: [
      ...(saved === undefined ? [] : [`restore ${saved} --into pod/${spec.podReference.name}`]),
      `describe checkpoint/${spec.checkpointName}`,
      ...(isTerminal(restore) ? [`delete restore/${metadata.name}`] : []),
    ],
  };
}
