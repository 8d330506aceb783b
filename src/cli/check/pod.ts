import { ERRORS } from "../../api/errors.ts";
import { isGood } from "../../api/kinds.ts";
import { findContainer, handlerOf, isRunning, statusOf } from "../../api/pod.ts";
import { parseQuantity } from "../../kube/quantity.ts";
import { size } from "../output/sizes.ts";
import { type Facts, type Finding, type Look, value } from "./facts.ts";

/** A restore needs a little more memory than the program has. */
const MEMORY_SHARE = 0.9;

/** Whether there is something to dump. */
export const running: Look = ({ pod, container }) => {
  const topic = "running";
  const { phase, containerStatuses } = pod.status ?? {};
  if (!isRunning(pod)) {
    const what =
      pod.metadata.deletionTimestamp === undefined ? (phase ?? "not on a node yet") : "being deleted";
    return {
      topic,
      verdict: "no",
      message: `the pod is ${what}`,
      todo: ERRORS.PodNotRunning.remedy,
      code: "PodNotRunning",
    };
  }
  const status = statusOf(pod, container);
  if (status?.state?.running !== undefined) {
    const others = (containerStatuses?.length ?? 1) - 1;
    const more = others > 0 ? `; ${others} more in the pod, each with checkpoints of its own` : "";
    return { topic, verdict: "ok", message: `container ${container} runs${more}` };
  }
  const why = status?.state?.waiting?.reason ?? status?.state?.terminated?.reason;
  return {
    topic,
    verdict: "no",
    message: `container ${container} does not run${why === undefined ? "" : `: ${why}`}`,
    todo: ERRORS.ContainerNotRunning.remedy,
    code: "ContainerNotRunning",
  };
};

/** Whose processes they are: CRIU needs them in a PID and a user namespace that it may fill itself. */
export const processes: Look = ({ pod }) => {
  const { spec } = pod;
  const findings: Finding[] = [];
  if (spec?.hostUsers === false) {
    findings.push({
      topic: "user namespace",
      verdict: "no",
      message: "hostUsers is false: CRIU cannot save a container with users of its own here",
      todo: ERRORS.UserNamespaceUnsupported.remedy,
      code: "UserNamespaceUnsupported",
    });
  }
  if (spec?.hostPID === true) {
    findings.push({
      topic: "processes",
      verdict: "no",
      message: "hostPID: its processes are among its host's, and cannot come back with their numbers",
      todo: ERRORS.PidTaken.remedy,
      code: "PidTaken",
    });
  }
  if (spec?.shareProcessNamespace === true) {
    findings.push({
      topic: "processes",
      verdict: "no",
      message:
        "shareProcessNamespace: its processes are among other containers', and cannot come back with their numbers",
      todo: ERRORS.PidTaken.remedy,
      code: "PidTaken",
    });
  }
  if (pod.metadata.annotations?.["kubernetes.io/config.mirror"] !== undefined) {
    findings.push({
      topic: "processes",
      verdict: "no",
      message: "it is a static pod: only its node's files say what it is",
      todo: "Run it as a Deployment or DaemonSet",
    });
  }
  return findings;
};

/** A program that is not root's: CRIU then needs one more capability, which a node has and a container may not. */
export const identity: Look = (facts) => {
  const { pod, container } = facts;
  const { runAsNonRoot, runAsUser } = {
    ...pod.spec?.securityContext,
    ...findContainer(pod, container)?.securityContext,
  };
  if (runAsNonRoot !== true && (runAsUser === undefined || runAsUser === 0)) return undefined;
  const topic = "user";
  const who = runAsUser === undefined ? "it does not run as root" : `it runs as user ${runAsUser}`;
  if (hasGoodCheckpoint(facts)) {
    return { topic, verdict: "ok", message: `${who}, and could be dumped` };
  }
  return {
    topic,
    verdict: "unknown",
    message: `${who}: CRIU then needs CAP_SYS_RESOURCE on the node, which is not seen from here`,
    todo: "A node that is a machine of its own has it; one in a container may lack it",
    code: "LimitsUnreadable",
  };
};

/** Devices: CRIU has no way to save what is in them. */
export const devices: Look = ({ pod, container }) => {
  const { resources } = findContainer(pod, container) ?? {};
  const names = Object.keys({ ...resources?.requests, ...resources?.limits }).filter(
    (name) => name.includes("/") && !name.startsWith("hugepages-"),
  );
  const gpu = names.find((name) => /gpu|nvidia|amd\.com|habana|\/mig-/i.test(name));
  const topic = "devices";
  if (gpu !== undefined) {
    return {
      topic,
      verdict: "no",
      message: `it has a GPU (${gpu}), whose memory CRIU cannot save by itself`,
      todo: ERRORS.DeviceInUse.remedy,
      code: "DeviceInUse",
    };
  }
  const claims = resources?.claims?.map(({ name }) => name) ?? [];
  const all = [...names, ...claims];
  if (all.length === 0) return undefined;
  return {
    topic,
    verdict: "warning",
    message: `it has devices (${all.join(", ")}): a dump fails while the program holds one open`,
    todo: ERRORS.DeviceInUse.remedy,
    code: "DeviceInUse",
  };
};

/** What the process was told of its pod, and goes on believing in another. */
export const environment: Look = ({ pod, container }) => {
  const names = (findContainer(pod, container)?.env ?? [])
    .filter(({ valueFrom }) => valueFrom?.fieldRef ?? valueFrom?.resourceFieldRef)
    .map(({ name }) => name);
  if (names.length === 0) return undefined;
  return {
    topic: "environment",
    verdict: "warning",
    message: `${names.join(", ")} ${names.length === 1 ? "comes" : "come"} from the pod's own fields, and ${names.length === 1 ? "keeps its value" : "keep their values"} of the checkpoint when the state goes on in another pod`,
    todo: "Have the program read such things from a downward API volume, or from /run/kcr/restored after a restore",
  };
};

/** Whether a restore fits into the container's limit. */
export const memory: Look = (facts) => {
  const { pod, container } = facts;
  const limit = findContainer(pod, container)?.resources?.limits?.["memory"];
  const used = value(facts.memory);
  if (limit === undefined || used === undefined) return undefined;
  const bytes = parseQuantity(limit);
  if (used < bytes * MEMORY_SHARE) return undefined;
  return {
    topic: "memory",
    verdict: "warning",
    message: `it uses ${size(used)} of its limit of ${size(bytes)}, and a restore needs a little more than the program`,
    todo: ERRORS.NoMemory.remedy,
    code: "NoMemory",
  };
};

/** Whether its image can be replaced by a checkpoint's, where that is how it is restored. */
export const image: Look = ({ pod, container, settings }) => {
  if (handlerOf(pod) !== undefined) return undefined;
  const topic = "image";
  if (findContainer(pod, container)?.imagePullPolicy === "Never") {
    return {
      topic,
      verdict: "warning",
      message:
        "imagePullPolicy is Never: no checkpoint image can be given to it, only the runtime handler restores it",
      todo: ERRORS.ImagePullPolicyNever.remedy,
      code: "ImagePullPolicyNever",
    };
  }
  const wanted = value(settings)?.registry?.pullSecrets ?? [];
  if (wanted.length === 0 || pod.spec?.imagePullSecrets?.length) return undefined;
  return {
    topic,
    verdict: "warning",
    message: "nodes pull checkpoint images with a pull secret, and the pod names none",
    todo: "Name one in imagePullSecrets of its template",
    code: "ImagePullFailed",
  };
};

/** Whether the kubelet starts it again at all. */
export const restarts: Look = ({ pod, container }) => {
  const policy = findContainer(pod, container)?.restartPolicy ?? pod.spec?.restartPolicy ?? "Always";
  if (policy !== "Never") return undefined;
  return {
    topic: "restarts",
    verdict: "warning",
    message:
      "restartPolicy is Never: the kubelet starts it no more when it has crashed, so nothing is restored in place",
    todo: "Use OnFailure or Always",
  };
};

/** Whether this container of this pod was dumped before, well. */
const hasGoodCheckpoint = ({ checkpoints }: Facts): boolean => (value(checkpoints) ?? []).some(isGood);
