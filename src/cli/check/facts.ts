import type { Checkpoint } from "../../api/checkpoint.ts";
import type { ErrorCode } from "../../api/errors.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import type { CheckpointSchedule } from "../../api/schedule.ts";
import type { Settings } from "../../api/settings.ts";
import type { MutatingWebhookConfiguration, Node, Pod, RuntimeClass } from "../../kube/resources.ts";

/** What was found out, or why it could not be. */
export type Known<T> = { value: T } | { why: string };

/** Everything that a check goes by. Gathered by gather.ts, judged by decide.ts. */
export interface Facts {
  pod: Pod;
  container: string;
  /** What the person calls this program, and the flags to repeat behind what they run next. */
  program: string;
  again: string;
  /** Of the pod; `why` too where it is on none yet. */
  node: Known<Node>;
  /** Those that have the runtime handler ready. */
  handlerNodes: Known<readonly Node[]>;
  /** The agent on the pod's node, where there is one. */
  agent: Known<Pod | undefined>;
  /** Of the pod's namespace. */
  schedules: Known<readonly CheckpointSchedule[]>;
  /** Of this container of this pod, newest first. */
  checkpoints: Known<readonly Checkpoint[]>;
  /** The same; those that have ended. */
  requests: Known<readonly CheckpointRequest[]>;
  settings: Known<Settings>;
  runtimeClass: Known<RuntimeClass | undefined>;
  webhook: Known<MutatingWebhookConfiguration | undefined>;
  /** Bytes of memory that the container uses. */
  memory: Known<number>;
}

/** `unknown`: it could not be found out, and matters. */
export type Verdict = "no" | "warning" | "unknown" | "ok";

/** One thing that was looked at. */
export interface Finding {
  /** One word or two. */
  topic: string;
  verdict: Verdict;
  /** A sentence without its full stop. */
  message: string;
  /** What to do, a sentence likewise. */
  todo?: string;
  /** Of errors.md, where it would fail by that code. */
  code?: ErrorCode;
}

/** What a look at one thing comes to: nothing, where there is nothing worth saying. */
export type Look = (facts: Facts, now: Date) => Finding | readonly Finding[] | undefined;

export const value = <T>(known: Known<T>): T | undefined => ("value" in known ? known.value : undefined);
