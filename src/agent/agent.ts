import { mkdir } from "node:fs/promises";
import { checkpoints, requests, restores, schedules } from "../api/kinds.ts";
import { Cache } from "../kube/cache.ts";
import { EventRecorder } from "../kube/events.ts";
import { pods } from "../kube/resources.ts";
import { follow } from "../kube/signals.ts";
import { Layout } from "../store/layout.ts";
import { Archives } from "./archives.ts";
import { BY_NAMESPACE, BY_POD_UID, BY_UID, type Context } from "./context.ts";
import { dumpController } from "./dump/controller.ts";
import { imageController } from "./image/controller.ts";
import { notesController } from "./notes/controller.ts";
import { armController, onlyLocal } from "./plan/arm.ts";
import { planController } from "./plan/controller.ts";

export type AgentOptions = Omit<Context, "archives" | "layout" | "recorder" | "caches">;

export interface Agent {
  /** Whether it knows its node's requests and Checkpoints. */
  ready(): boolean;
  /** Works until the signal aborts, and ends when what it has in hand is put down: a dump is waited for. */
  run(signal: AbortSignal): Promise<void>;
}

/** The agent of one node: sees no objects but those of its node, and writes no others. */
export function createAgent(options: AgentOptions): Agent {
  const { node, client, settings, log, metrics } = options;
  const shared = { client, log, metrics };
  const caches: Context["caches"] = {
    requests: new Cache({ ...shared, resource: requests, fieldSelector: `status.nodeName=${node}` }),
    checkpoints: new Cache({
      ...shared,
      resource: checkpoints,
      fieldSelector: `spec.nodeName=${node}`,
      indexes: {
        [BY_POD_UID]: ({ status }) => (status?.lineage === undefined ? [] : [status.lineage.podUID]),
        [BY_NAMESPACE]: ({ metadata }) => [metadata.namespace ?? ""],
      },
    }),
    pods: new Cache({
      ...shared,
      resource: pods,
      fieldSelector: `spec.nodeName=${node}`,
      indexes: {
        [BY_UID]: ({ metadata }) => [metadata.uid ?? ""],
        [BY_NAMESPACE]: ({ metadata }) => [metadata.namespace ?? ""],
      },
    }),
    restores: new Cache({
      ...shared,
      resource: restores,
      fieldSelector: `status.nodeName=${node}`,
      indexes: { [BY_POD_UID]: ({ status }) => (status?.podUID === undefined ? [] : [status.podUID]) },
    }),
    schedules: new Cache({
      ...shared,
      resource: schedules,
      indexes: { [BY_NAMESPACE]: ({ metadata }) => [metadata.namespace ?? ""] },
    }),
  };
  const all = Object.values(caches);
  return {
    ready: () => all.every((cache) => cache.synced),
    async run(signal) {
      const recorder = new EventRecorder({ ...shared, controller: "kcr-agent", instance: node });
      const archives = new Archives(settings.kubelet.checkpointDirectory);
      const layout = new Layout(settings.local.directory);
      for (const directory of [layout.plans, layout.runs, layout.copies, layout.selftest]) {
        await mkdir(directory, { recursive: true, mode: 0o700 });
      }
      const context: Context = { ...options, archives, layout, recorder, caches };
      using running = follow(signal);
      const plans = planController(context);
      const controllers = [
        dumpController(context),
        imageController(context),
        plans,
        armController(context, onlyLocal, (podUID) => plans.enqueue({ name: podUID })),
        notesController(context),
      ];
      const parts = [...all, ...controllers].map((part) => part.run(running.signal));
      try {
        await Promise.all(parts);
      } finally {
        running.abort(new Error("the agent ends"));
        await Promise.allSettled(parts);
        await recorder.close();
      }
    },
  };
}
