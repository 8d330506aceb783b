import type { Checkpoint } from "../api/checkpoint.ts";
import { API_VERSION } from "../api/group.ts";
import { LABEL_POD, LABEL_WORKLOAD } from "../api/labels.ts";
import type { Pod } from "../kube/resources.ts";

export const NOW = new Date("2026-03-02T12:30:00Z");
export const GIB = 1024 ** 3;

export interface Sketch {
  pod?: string;
  workload?: string;
  container?: string;
  /** The run that it was taken of. */
  run?: string;
  /** Hours before {@link NOW} at which it was taken. */
  age?: number;
  bytes?: number;
  /** False: it can not be restored; undefined: it can. "poisoned": it crashes. "unfinished": nobody knows yet. */
  state?: "good" | "failed" | "poisoned" | "unfinished";
  /** Made for a person. */
  onDemand?: boolean;
  annotations?: Record<string, string>;
  node?: string;
  status?: object;
}

const hoursAgo = (hours: number): string => new Date(NOW.getTime() - hours * 3_600_000).toISOString();
const condition = (type: string, status: "True" | "False") => ({
  type,
  status,
  reason: "Test",
  message: "",
  lastTransitionTime: hoursAgo(0),
});

/** A Checkpoint of which no more is told than matters here. */
export function sketch(name: string, of: Sketch = {}): Checkpoint {
  const { pod = "web-0", workload = "web", container = "app", run = `${pod}-run`, age = 0 } = of;
  const { state = "good", node = "worker-1" } = of;
  return {
    kind: "Checkpoint",
    metadata: {
      name,
      namespace: "shop",
      uid: `uid-${name}`,
      labels: { [LABEL_POD]: pod, [LABEL_WORKLOAD]: workload, container },
      annotations: of.annotations ?? {},
      ...(of.onDemand
        ? {}
        : {
            ownerReferences: [
              { apiVersion: API_VERSION, kind: "CheckpointRequest", name, uid: `of-${name}` },
            ],
          }),
    },
    spec: {
      checkpointData: `${name}.tar`,
      checkpointTimestamp: hoursAgo(age),
      checkpointID: name,
      containerName: container,
      nodeName: node,
      ...(of.onDemand ? {} : { checkpointScheduleRef: { name: workload } }),
    },
    status: {
      phase: state === "unfinished" ? "Processing" : state === "failed" ? "Failed" : "ImageBuilt",
      sizeBytes: of.bytes ?? GIB,
      lineage: { podUID: `uid-${pod}`, containerID: run, restartCount: 0 },
      conditions:
        state === "unfinished"
          ? []
          : [
              condition("Restorable", state === "failed" ? "False" : "True"),
              ...(state === "poisoned" ? [condition("Poisoned", "True")] : []),
            ],
      ...of.status,
    },
  };
}

/** A pod whose container has run for a day. */
export function sketchPod(name = "web-0", { run = `${name}-run`, container = "app", ...more } = {}): Pod {
  return {
    metadata: {
      name,
      namespace: "shop",
      uid: `uid-${name}`,
      labels: { "pod-template-hash": "abc" },
      ownerReferences: [{ kind: "ReplicaSet", name: "web-abc", controller: true }],
      ...more,
    },
    spec: { containers: [{ name: container }] },
    status: {
      phase: "Running",
      containerStatuses: [
        {
          name: container,
          containerID: `containerd://${run}`,
          state: { running: { startedAt: hoursAgo(24) } },
        },
      ],
    },
  } as unknown as Pod;
}
