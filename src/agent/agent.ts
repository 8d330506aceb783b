import { mkdir } from "node:fs/promises";
import { checkpoints, requests, restores, schedules } from "../api/kinds.ts";
import { HOST_ROOT } from "../engine/dump.ts";
import { Cache } from "../kube/cache.ts";
import { EventRecorder } from "../kube/events.ts";
import { nodes, pods } from "../kube/resources.ts";
import { follow } from "../kube/signals.ts";
import { Layout } from "../store/layout.ts";
import { Archives } from "./archives.ts";
import { BY_NAMESPACE, BY_POD_UID, BY_UID, type Context, type Self } from "./context.ts";
import { diskController } from "./disk/controller.ts";
import { dumpController } from "./dump/controller.ts";
import { kubeletEngine } from "./dump/engine.ts";
import { DUMP_PROGRAM, RuncEngine } from "./dump/engine-runc.ts";
import { throughHandler } from "./dump/through-handler.ts";
import { factsController } from "./facts/controller.ts";
import { NodeFacts } from "./facts/node-facts.ts";
import { Ahead } from "./image/ahead.ts";
import { imageController } from "./image/controller.ts";
import type { KubeletOptions } from "./kubelet.ts";
import { Locks } from "./locks.ts";
import { notesController } from "./notes/controller.ts";
import { observe } from "./observe/observe.ts";
import { traceChanges } from "./observe/trace.ts";
import { armController } from "./plan/arm.ts";
import { planController } from "./plan/controller.ts";
import { specChangeController } from "./plan/spec-change-controller.ts";
import { selftestController } from "./selftest/controller.ts";
import { copyController } from "./store/controller.ts";
import { fetchedController } from "./store/fetched-controller.ts";
import { keepStore } from "./store/keeper.ts";
import { ensureCopy } from "./store/obtain.ts";
import { Pins } from "./store/pins.ts";
import { LocalStore } from "./store/store.ts";
import { Transfer, type TransferOptions } from "./transfer/transfer.ts";

export type AgentOptions = Omit<
  Context,
  "archives" | "engine" | "facts" | "layout" | "store" | "pins" | "locks" | "transfer" | "recorder" | "caches"
> & {
  /** The node's own. */
  kubelet: KubeletOptions;
  /** Where it runs; without it the node's runtime handler is not tested. */
  self?: Self;
  /** Where other nodes' agents are answered, and found; needs `self`. Without it no copy goes from node to node. */
  transfer?: Pick<TransferOptions, "listen" | "find">;
};

export interface Agent {
  /** Whether it knows its node's requests and Checkpoints. */
  ready(): boolean;
  /** Whether it hears of them, as far as the API server lets it. */
  alive(): boolean;
  /** Works until the signal aborts, and ends when what it has in hand is put down: a dump is waited for. */
  run(signal: AbortSignal): Promise<void>;
}

/** The agent of one node: sees no objects but those of its node, and writes no others. */
export function createAgent(options: AgentOptions): Agent {
  const { self, transfer: between, kubelet, ...given } = options;
  const { node, client, settings, log, metrics } = given;
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
    nodes: new Cache({ ...shared, resource: nodes, fieldSelector: `metadata.name=${node}` }),
  };
  const all = Object.values(caches);
  return {
    ready: () => all.every((cache) => cache.synced),
    alive: () => all.every((cache) => cache.alive),
    async run(signal) {
      const recorder = new EventRecorder({ ...shared, controller: "kcr-agent", instance: node });
      const archives = new Archives(settings.kubelet.checkpointDirectory);
      const layout = new Layout(settings.local.directory);
      for (const directory of [layout.plans, layout.runs, layout.copies, layout.selftest]) {
        await mkdir(directory, { recursive: true, mode: 0o700 });
      }
      const store = new LocalStore(layout);
      await store.start();
      const pins = new Pins(layout, options.now);
      const locks = new Locks();
      const runc =
        settings.engine === "runc"
          ? new RuncEngine({
              tools: { program: DUMP_PROGRAM, directory: layout.dumps, host: HOST_ROOT },
              archives,
              maxPauseSeconds: settings.runc.maxPauseSeconds,
              now: options.now,
              log,
            })
          : undefined;
      const engine = throughHandler(runc ?? kubeletEngine(kubelet, node), layout, options.now);
      const transfer =
        between !== undefined && self !== undefined && settings.transfer.enabled
          ? new Transfer({
              ...given,
              ...between,
              namespace: self.namespace,
              settings: settings.transfer,
              store,
            })
          : undefined;
      const context: Context = {
        ...given,
        engine,
        facts: new NodeFacts(),
        archives,
        ahead: new Ahead({ archives, settings, log, signal }),
        layout,
        store,
        pins,
        locks,
        transfer,
        recorder,
        caches,
      };
      observe(context);
      traceChanges(context);
      using running = follow(signal);
      const plans = planController(context);
      const controllers = [
        dumpController(context),
        copyController(context),
        fetchedController(context),
        imageController(context),
        plans,
        armController(
          context,
          (...wanted) => ensureCopy(context, ...wanted),
          (podUID) => plans.enqueue({ name: podUID }),
        ),
        notesController(context),
        specChangeController(context),
        factsController(context),
        diskController(context),
        ...(self !== undefined && settings.selftest.enabled ? [selftestController(context, self)] : []),
      ];
      const keeper = { run: (signal: AbortSignal) => keepStore(context, signal) };
      const left = { run: async (signal: AbortSignal) => await runc?.recover(signal) };
      const parts = [...all, ...controllers, keeper, left, ...(transfer ? [transfer] : [])].map((part) =>
        part.run(running.signal),
      );
      try {
        await Promise.all(parts);
        await store.markCleanStop();
      } finally {
        running.abort(new Error("the agent ends"));
        await Promise.allSettled(parts);
        await recorder.close();
      }
    },
  };
}
