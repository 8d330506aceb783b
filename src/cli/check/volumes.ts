import { ERRORS } from "../../api/errors.ts";
import { containersOf, findContainer, handlerOf } from "../../api/pod.ts";
import { protectionOf } from "../../api/protection.ts";
import type { Pod } from "../../kube/resources.ts";
import { size } from "../output/sizes.ts";
import { type Finding, type Look, value } from "./facts.ts";

type Volume = NonNullable<NonNullable<Pod["spec"]>["volumes"]>[number];

/** Kinds of volume whose files the kubelet writes and programs read. */
const READ_ONLY = ["configMap", "secret", "downwardAPI", "projected", "image"] as const;

/** What becomes of the files on volumes: memory is of the checkpoint's moment. */
export const volumes: Look = ({ pod, container, schedules, settings }): Finding[] => {
  const topic = "volumes";
  const policy = protectionOf(pod, value(schedules) ?? []).get(container)?.volumes ?? "Capture";
  const written = (findContainer(pod, container)?.volumeMounts ?? []).filter(
    (mount) => mount.readOnly !== true,
  );
  const all = (pod.spec?.volumes ?? [])
    .filter(({ name }) => written.some((mount) => mount.name === name))
    .filter((volume) => !READ_ONLY.some((kind) => volume[kind] !== undefined));
  const place = ({ name }: Volume) => written.find((mount) => mount.name === name)?.mountPath ?? name;

  const findings: Finding[] = [];
  const lasting = all.filter(({ emptyDir }) => emptyDir === undefined);
  const own = all.filter(({ emptyDir }) => emptyDir !== undefined);
  const shared = own.filter(({ name }) => mountedBy(pod, name) > 1);
  const refused = policy === "Refuse" ? all : policy === "Capture" ? lasting : [];
  if (refused.length > 0) {
    findings.push({
      topic,
      verdict: "warning",
      message: `${list(refused.map((v) => `${place(v)} (${kindOf(v)})`))} can be written to: a checkpoint taken with a file open for writing there is not restored by itself`,
      todo: ERRORS.VolumeStateDiverges.remedy.replace(/\.$/, ""),
      code: "VolumeStateDiverges",
    });
  }
  if (policy === "Ignore" && all.length > 0) {
    findings.push({
      topic,
      verdict: "warning",
      message: `restore.volumes is Ignore: after a restore ${list(all.map(place))} ${all.length === 1 ? "has" : "have"} the files of then, whatever the memory believes`,
    });
  }
  if (policy !== "Capture") return findings;
  if (shared.length > 0) {
    findings.push({
      topic,
      verdict: "warning",
      message: `${list(shared.map(place))}: other containers mount the emptyDir too, so it stays as it is at a restore`,
      todo: ERRORS.VolumeStateDiverges.remedy.replace(/\.$/, ""),
    });
  }
  const captured = own.filter((volume) => !shared.includes(volume));
  if (captured.length === 0) return findings;
  if (handlerOf(pod) === undefined) {
    findings.push({
      topic,
      verdict: "warning",
      message: `${list(captured.map(place))}: the files of an emptyDir are put back by the runtime handler only, and the pod is not of class kcr`,
    });
    return findings;
  }
  const limit = value(settings)?.runtime.volumesMaxBytes;
  findings.push({
    topic,
    verdict: "ok",
    message: `${list(captured.map(place))}: emptyDir, saved and put back with the memory${limit === undefined ? "" : `, up to ${size(limit)}`}`,
  });
  return findings;
};

const mountedBy = (pod: Pod, volume: string): number =>
  containersOf(pod).filter(({ volumeMounts = [] }) => volumeMounts.some(({ name }) => name === volume))
    .length;

/** The field of a volume that says what it is. */
function kindOf(volume: Volume): string {
  if (volume.persistentVolumeClaim !== undefined) return `claim ${volume.persistentVolumeClaim.claimName}`;
  if (volume.hostPath !== undefined) return `host path ${volume.hostPath.path}`;
  return Object.keys(volume).find((field) => field !== "name") ?? "of no kind";
}

const list = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
