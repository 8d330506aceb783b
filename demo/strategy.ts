import type { InstallOptions } from "../cluster/install.ts";
import type { ContainerdVersion } from "../cluster/plan.ts";
import { type Checkpoint, LOCAL_COPY, RUNTIME_HANDLER } from "../src/api/checkpoint.ts";
import { isTrue } from "../src/api/conditions.ts";
import { isGood } from "../src/api/kinds.ts";

/** The two ways back, and all that the demo does and says otherwise for one of them than for the other. */

export type StrategyName = "runtime" | "image";

export interface Strategy {
  name: StrategyName;
  /** Of the worker that it plays on. */
  containerd: ContainerdVersion;
  /** What the nodes of a new cluster get of kcr's runtime handler. */
  handler: InstallOptions["handler"];
  /** The class that the pod is asked to have; absent: kcr gives it one. */
  ownClass?: string;
  /** The class that the pod then has. */
  podClass: string;
  /** Whether a Checkpoint has all that a crash here is restored with, and its image too. */
  isReady(checkpoint: Checkpoint): boolean;
  says: {
    cluster: string;
    workload: string;
    checkpoint: string;
    crash: string;
    cameBack: string;
  };
}

const isBuilt = (checkpoint: Checkpoint): boolean =>
  isGood(checkpoint) && checkpoint.status?.phase === "ImageBuilt";

export const strategies: Record<StrategyName, Strategy> = {
  runtime: {
    name: "runtime",
    containerd: "2.4",
    handler: "offered",
    podClass: RUNTIME_HANDLER,
    isReady: (checkpoint) => isBuilt(checkpoint) && isTrue(checkpoint.status?.conditions, LOCAL_COPY),
    says: {
      cluster:
        "kcr's installer puts a handler in front of runc on the worker, and the agent there tries it on a pod of its own: only then is the node labelled as ready.",
      workload:
        "kcr's webhook gives its pod the RuntimeClass kcr: from now on the handler starts its containers.",
      checkpoint:
        "The Checkpoint is unpacked on its node, ready to be restored, and goes to the registry as an image.",
      crash:
        "The kubelet starts the container again, as it would without kcr. But where its process would begin afresh, the handler puts the old one back, with its memory. For that it asks nobody: no registry, no agent, no API server.",
      cameBack: "The same pod, the same image, the same keys.",
    },
  },
  image: {
    name: "image",
    containerd: "2.3",
    handler: "none",
    ownClass: "runc",
    podClass: "runc",
    isReady: isBuilt,
    says: {
      cluster: "This strategy needs nothing on the worker: its containerd restores from images by itself.",
      workload:
        "Its RuntimeClass is the node's ordinary one, so that it is restored through its image even where nodes have kcr's handler.",
      checkpoint: "The Checkpoint becomes an image in the registry.",
      crash:
        "The kubelet restarts the container, empty, as it would without kcr; then kcr gives the container its checkpoint's image, and the runtime restores the process from it.",
      cameBack: "The same pod, the same keys.",
    },
  },
};
