import { ERRORS, type ErrorCode } from "../../api/errors.ts";
import { isGood } from "../../api/kinds.ts";
import { findContainer, statusOf } from "../../api/pod.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { humanDuration, relative } from "../output/age.ts";
import { duration, size } from "../output/sizes.ts";
import { type Facts, type Finding, type Look, value } from "./facts.ts";

/**
 * How many bytes of a container are dumped in a second of pause, where nothing was measured of it. Source:
 * docs/performance.md, "dump: both engines": an archive of 1237 MB, 4.939 s and 1.487 s without an answer.
 */
const BYTES_PER_SECOND = { kubelet: 250e6, runc: 830e6 } as const;

/** Failures that come again with the same program: what it does that CRIU cannot save. */
const LASTING: readonly ErrorCode[] = [
  "IoUringInUse",
  "DeviceInUse",
  "UserNamespaceUnsupported",
  "LimitsUnreadable",
  "UnixSocketExternal",
  "FileUnsupported",
  "SeccompUnsupported",
  "CriuTooOld",
  "KernelTooOld",
  "FileLockHeld",
  "DeletedFileTooLarge",
  "TcpConnectionOpen",
  "FilesUnsuitable",
  "CheckpointUnsupported",
];

/** What the last attempt came to: nothing says more of what the program holds open. */
export const lastDump: Look = (facts, now): Finding => {
  const topic = "last dump";
  if ("why" in facts.requests) return { topic, verdict: "unknown", message: facts.requests.why };
  const [last] = facts.requests.value;
  const good = (value(facts.checkpoints) ?? []).find(isGood);
  const takenAfter = (request: CheckpointRequest) =>
    good !== undefined && Date.parse(good.spec.checkpointTimestamp) >= Date.parse(timeOf(request) ?? "");
  if (last?.status?.phase === "Failed" && !takenAfter(last)) {
    const { reason = "Internal", message = "" } = last.status;
    const code = reason in ERRORS ? (reason as ErrorCode) : undefined;
    const when = relative(timeOf(last), now.getTime());
    return {
      topic,
      verdict: code !== undefined && LASTING.includes(code) ? "no" : "warning",
      message: `the last attempt${when === undefined ? "" : `, ${when},`} failed: ${reason}: ${firstSentences(message)}`,
      ...(code === undefined ? {} : { todo: ERRORS[code].remedy.replace(/\.$/, ""), code }),
    };
  }
  if (good !== undefined) {
    const when = relative(good.spec.checkpointTimestamp, now.getTime()) ?? "before";
    return {
      topic,
      verdict: "ok",
      message: `${good.metadata.name}, taken ${when}, is good${good.status?.sizeBytes === undefined ? "" : `: ${size(good.status.sizeBytes)}`}`,
    };
  }
  return {
    topic,
    verdict: "unknown",
    message:
      "it was never checkpointed: what the program holds open (TCP connections, io_uring, devices, locks, sockets of others), and whether the node's /etc/criu/runc.conf says tcp-close, only a dump shows",
    todo: `Take one: ${facts.program} checkpoint pod/${facts.pod.metadata.name}${facts.again}`,
  };
};

/** How long it would stand still, against the patience of its liveness probe. */
export const pause: Look = (facts): Finding => {
  const topic = "pause";
  const expected = expectedPause(facts);
  if (expected === undefined) {
    const why = "why" in facts.memory ? facts.memory.why : "its size is not known";
    return { topic, verdict: "unknown", message: `how long it would stand still: ${why}` };
  }
  const { ms, how } = expected;
  const stands = `it stands still for ${how === "measured" ? "" : how === "bound" ? "at most " : "about "}${duration(ms * 1000)}`;
  const basis = {
    measured: "as the last time",
    bound: "as the last time",
    estimate: `estimated from ${size(expected.bytes)}`,
  }[how];
  const probe = findContainer(facts.pod, facts.container)?.livenessProbe;
  const said = `${stands} (${basis})`;
  if (probe === undefined) return { topic, verdict: "ok", message: `${said}; no liveness probe minds` };
  const { periodSeconds = 10, failureThreshold = 3 } = probe;
  const patience = periodSeconds * failureThreshold;
  if (ms < patience * 1000) {
    return { topic, verdict: "ok", message: `${said}; its liveness probe bears ${patience} s` };
  }
  return {
    topic,
    verdict: "warning",
    message: `${said}, but its liveness probe has it ended after ${patience} s (periodSeconds ${periodSeconds} x failureThreshold ${failureThreshold})`,
    todo: `Raise failureThreshold to ${Math.ceil((2 * ms) / 1000 / periodSeconds)}${value(facts.settings)?.engine === "runc" ? "" : ", or use engine runc, which needs less than half the pause"}`,
  };
};

/** The kubelet's wait before the next start, which comes before any restore. */
export const backoff: Look = ({ pod, container }, now): Finding | undefined => {
  const topic = "back-off";
  const status = statusOf(pod, container);
  if (status?.state?.waiting?.reason === "CrashLoopBackOff") {
    return {
      topic,
      verdict: "warning",
      message: "the kubelet waits before it starts the container again (CrashLoopBackOff)",
    };
  }
  const finished = Date.parse(status?.lastState?.terminated?.finishedAt ?? "");
  if (!status?.restartCount || !(now.getTime() - finished < FORGOTTEN_MS)) return undefined;
  return {
    topic,
    verdict: "warning",
    message: `it ended ${humanDuration(now.getTime() - finished)} ago (restart ${status.restartCount}): if it ends again soon, the kubelet waits 10 s and longer, up to 5 min, before a restore can begin`,
    todo: "Nothing: the kubelet forgets it when the container has run well for 10 minutes",
  };
};

/** After how long without a crash the kubelet begins anew with its waits. Source: its MaxContainerBackOff, doubled. */
const FORGOTTEN_MS = 600_000;

interface Pause {
  ms: number;
  bytes: number;
  how: "measured" | "bound" | "estimate";
}

/**
 * Of the last good Checkpoint where it says how long the container was paused, else at most as long as its request
 * took; scaled to what the container uses now, if it is more. Else by the speed of an engine and its size.
 */
function expectedPause({ checkpoints, requests, settings, memory }: Facts): Pause | undefined {
  const good = (value(checkpoints) ?? []).find(isGood);
  const bytesThen = good?.status?.sizeBytes;
  const now = value(memory);
  const scale = bytesThen && now ? Math.max(1, now / bytesThen) : 1;
  const bytes = Math.max(now ?? 0, bytesThen ?? 0);
  const paused = good?.status?.pausedMicroseconds;
  if (paused !== undefined)
    return { ms: (paused / 1000) * scale, bytes, how: scale === 1 ? "measured" : "estimate" };
  const request = (value(requests) ?? []).find(
    ({ status }) => good !== undefined && status?.checkpoint?.name === good.metadata.name,
  );
  const took =
    Date.parse(request?.status?.completionTime ?? "") - Date.parse(request?.status?.startTime ?? "");
  // Times are whole seconds.
  if (took >= 0) return { ms: Math.max(1000, took) * scale, bytes, how: scale === 1 ? "bound" : "estimate" };
  if (bytes === 0) return undefined;
  return {
    ms: (bytes / BYTES_PER_SECOND[value(settings)?.engine ?? "kubelet"]) * 1000,
    bytes,
    how: "estimate",
  };
}

const timeOf = ({ status, metadata }: CheckpointRequest): string | undefined =>
  status?.completionTime ?? metadata.creationTimestamp;

/** Without the remedy that may follow what was said. */
function firstSentences(text: string): string {
  const line = text.split("\n")[0] ?? "";
  return line.length > 300 ? `${line.slice(0, 299)}…` : line;
}
