import { ERRORS } from "../../api/errors.ts";
import { RUNTIME_LABEL, RUNTIME_READY } from "../../api/labels.ts";
import { hasHandlerReady, readSelftest } from "../../api/selftest.ts";
import type { Node } from "../../kube/resources.ts";
import { relative } from "../output/age.ts";
import { type Finding, type Look, value } from "./facts.ts";

/** The kubelet's feature gate ContainerCheckpoint is on by default from this minor version on. */
const KUBELET_MINOR = 30;
/** From this kernel on CRIU must be 4.2 or newer: older ones fail on every INET socket. */
const KERNEL_OF_CRIU_4_2 = [6, 16];

/** Whether there is somebody on the pod's node who takes checkpoints. */
export const agent: Look = ({ agent, node }, now) => {
  const topic = "agent";
  const where = value(node)?.metadata.name ?? "its node";
  if ("why" in agent) return { topic, verdict: "unknown", message: agent.why };
  if (agent.value === undefined) {
    return {
      topic,
      verdict: "no",
      message: `no agent of kcr is on ${where}`,
      todo: "See why DaemonSet kcr-agent has no pod there: kubectl -n kcr-system describe daemonset/kcr-agent",
      code: "DeadlineExceeded",
    };
  }
  const { metadata, status } = agent.value;
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  if (ready?.status === "True") return { topic, verdict: "ok", message: `${metadata.name} runs on ${where}` };
  const since = relative(ready?.lastTransitionTime, now.getTime());
  return {
    topic,
    verdict: "no",
    message: `${metadata.name} on ${where} is not ready${since === undefined ? "" : `, since ${since}`}`,
    todo: `Look at its log: kubectl -n kcr-system logs ${metadata.name}`,
    code: "DeadlineExceeded",
  };
};

/** Whether the kubelet takes checkpoints. */
export const kubelet: Look = ({ node, settings }) => {
  if ("why" in node) return { topic: "node", verdict: "unknown", message: node.why };
  const { metadata, status } = node.value;
  const topic = "node";
  const { operatingSystem = "linux", kubeletVersion = "" } = status?.nodeInfo ?? {};
  if (operatingSystem !== "linux") {
    return {
      topic,
      verdict: "no",
      message: `${metadata.name} runs ${operatingSystem}`,
      todo: "Use a Linux node",
    };
  }
  if (!status?.conditions?.some((c) => c.type === "Ready" && c.status === "True")) {
    return {
      topic,
      verdict: "no",
      message: `${metadata.name} is not Ready`,
      todo: "Requests wait until it is",
    };
  }
  if (value(settings)?.engine === "runc") {
    return {
      topic,
      verdict: "ok",
      message: `${metadata.name} is Ready; the agent dumps by itself (engine runc)`,
    };
  }
  const minor = Number(/^v1\.(\d+)/.exec(kubeletVersion)?.[1]);
  if (minor < KUBELET_MINOR) {
    return {
      topic,
      verdict: "warning",
      message: `kubelet ${kubeletVersion} takes checkpoints only with its feature gate ContainerCheckpoint on`,
      todo: ERRORS.CheckpointUnsupported.remedy,
      code: "CheckpointUnsupported",
    };
  }
  return { topic, verdict: "ok", message: `${metadata.name} is Ready, with kubelet ${kubeletVersion}` };
};

/** Whether the container runtime can take checkpoints. */
export const runtime: Look = ({ node }) => {
  const version = value(node)?.status?.nodeInfo?.containerRuntimeVersion;
  const topic = "runtime";
  if (version === undefined) return undefined;
  const [, name, major] = /^([a-z-]+):\/\/v?(\d+)/.exec(version) ?? [];
  const shown = version.replace("://", " ");
  if (name === "containerd" && Number(major) >= 2) {
    return { topic, verdict: "ok", message: `${shown} takes checkpoints` };
  }
  if (name === "cri-o") {
    return {
      topic,
      verdict: "unknown",
      message: `${shown} takes checkpoints if its enable_criu_support is true, which is not seen from here`,
    };
  }
  return {
    topic,
    verdict: "no",
    message: `${shown} cannot take checkpoints`,
    todo: "Use containerd 2.0 or newer, or CRI-O",
    code: "CheckpointUnsupported",
  };
};

/** Whether the node's runtime handler restores. */
export const handler: Look = ({ node }, now) => {
  if ("why" in node) return undefined;
  const topic = "handler";
  const { metadata, status } = node.value;
  const test = readSelftest(node.value);
  const when = relative(test?.time, now.getTime());
  const shows = status?.runtimeHandlers?.some(({ name }) => name === "kcr") ?? false;
  if (hasHandlerReady(node.value)) {
    const how = test === undefined ? "by its label" : `its self-test passed ${when ?? ""}`.trimEnd();
    return { topic, verdict: "ok", message: `${metadata.name} has the runtime handler ready: ${how}` };
  }
  if (test?.result === "failed") {
    return {
      topic,
      verdict: "warning",
      message: `the runtime handler of ${metadata.name} failed its self-test: ${test.message}`,
      todo: ERRORS.SelfTestFailed.remedy,
      code: "SelfTestFailed",
    };
  }
  const label = metadata.labels?.[RUNTIME_LABEL] === RUNTIME_READY;
  return {
    topic,
    verdict: "warning",
    message: shows
      ? `${metadata.name} has the runtime handler, which ${label ? "is being taken away" : "has not passed its self-test yet"}`
      : `${metadata.name} has no runtime handler`,
    todo: shows
      ? `Look at the self-test: kubectl get node ${metadata.name} -o jsonpath='{.metadata.annotations.kcr\\.io/runtime-selftest}'`
      : "See what its installer says: kubectl -n kcr-system get events",
  };
};

/** CRIU: known by what it has done, for the API server does not know it. */
export const criu: Look = ({ node }, now): Finding | undefined => {
  if ("why" in node) return undefined;
  const kernel = node.value.status?.nodeInfo?.kernelVersion ?? "";
  const test = readSelftest(node.value);
  const topic = "criu";
  if (test?.result === "ready") {
    const when = relative(test.time, now.getTime());
    return {
      topic,
      verdict: "ok",
      message: `it dumped and restored the self-test${when === undefined ? "" : ` ${when}`}, on kernel ${kernel}`,
    };
  }
  const wants = needs42(node.value) ? `; kernel ${kernel} needs 4.2 or newer` : "";
  return {
    topic,
    verdict: "unknown",
    message: `CRIU's version on the node cannot be seen from here${wants}`,
    todo: "The first checkpoint shows it",
    code: "CriuTooOld",
  };
};

function needs42({ status }: Node): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(status?.nodeInfo?.kernelVersion ?? "") ?? [];
  const [wantedMajor = 0, wantedMinor = 0] = KERNEL_OF_CRIU_4_2;
  return Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor);
}
