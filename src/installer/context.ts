import type { Settings } from "../api/settings.ts";
import type { Client } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Logger } from "../kube/log.ts";
import type { ObjectReference } from "../kube/owner.ts";
import type { Host } from "./host.ts";

/** What every step of the installer works with. */
export interface Context {
  client: Client;
  /** Name of this node. */
  node: string;
  host: Host;
  /** Directory of this image with the files for nodes. */
  runtimeFiles: string;
  settings: Settings;
  /** The installer's own pod, which Events are about. */
  pod: ObjectReference;
  recorder: EventRecorder;
  log: Logger;
}

/** Says on the pod, and in the log, what was done. */
export function tell({ recorder, log, pod, node }: Context, reason: string, note: string): void {
  recorder.record({ regarding: pod, type: "Normal", reason, action: "Install", note: `${node}: ${note}` });
  log.info({ reason, note }, "done");
}

/** The same of what a person should look at. */
export function warn({ recorder, log, pod, node }: Context, reason: string, note: string): void {
  recorder.record({ regarding: pod, type: "Warning", reason, action: "Install", note: `${node}: ${note}` });
  log.warn({ reason, note }, "a person is needed");
}
