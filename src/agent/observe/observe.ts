import { statfsSync } from "node:fs";
import { RUNTIME_LABEL, RUNTIME_READY } from "../../api/labels.ts";
import { beginCount } from "../../api/restore-metrics.ts";
import { requestOf } from "../../api/trace.ts";
import { noMetrics } from "../../kube/metrics.ts";
import type { Context } from "../context.ts";
import { countCheckpoint, countDump } from "./count.ts";

type Observed = Pick<Context, "caches" | "layout" | "metrics" | "node" | "settings">;

/** Measures what happens to the node's requests and Checkpoints from now on, and how the node stands when asked. */
export function observe({ caches, layout, metrics = noMetrics, node, settings }: Observed): void {
  beginCount(metrics, "Runtime");
  caches.requests.subscribe((change) =>
    countDump(metrics, change, ({ metadata, status }) => {
      const checkpoint = caches.checkpoints.get(metadata.namespace, status?.checkpoint?.name ?? "");
      return checkpoint?.status?.engine ?? settings.engine;
    }),
  );
  const find = caches.requests.get.bind(caches.requests);
  caches.checkpoints.subscribe((change) => countCheckpoint(metrics, change, requestOf(change.object, find)));

  const disk = () => statfsSync(layout.root);
  metrics.read("kcr_disk_size_bytes", {}, () => disk().blocks * disk().bsize);
  metrics.read("kcr_disk_free_bytes", {}, () => disk().bavail * disk().bsize);
  if (settings.selftest.enabled) {
    const isReady = () =>
      caches.nodes.get(undefined, node)?.metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY;
    metrics.read("kcr_runtime_ready", {}, () => (isReady() ? 1 : 0));
  }
}
