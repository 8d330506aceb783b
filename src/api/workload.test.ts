import { describe, expect, it } from "vitest";
import type { OwnerReference, Pod } from "../kube/resources.ts";
import { podWorkload, workloadOfPod } from "./workload.ts";

const owner = (kind: string, name: string): OwnerReference => ({
  apiVersion: "apps/v1",
  kind,
  name,
  uid: "u",
  controller: true,
});

const pod = (owners: OwnerReference[], labels: Record<string, string> = {}): Pod => ({
  metadata: { name: "cache-5d8f7c9b6d-x2x4z", ownerReferences: owners, labels },
});

describe("the workload of a pod", () => {
  it.each<[string, Pod, string]>([
    [
      "a Deployment's pod",
      pod([owner("ReplicaSet", "cache-5d8f7c9b6d")], { "pod-template-hash": "5d8f7c9b6d" }),
      "cache",
    ],
    ["a ReplicaSet's own pod", pod([owner("ReplicaSet", "cache-5d8f7c9b6d")]), "cache-5d8f7c9b6d"],
    [
      "a label that is not the name's end",
      pod([owner("ReplicaSet", "cache")], { "pod-template-hash": "5d8f7c9b6d" }),
      "cache",
    ],
    ["a StatefulSet's pod", pod([owner("StatefulSet", "db")]), "db"],
    ["a bare pod", pod([]), "cache-5d8f7c9b6d-x2x4z"],
    ["a pod of a kind not known", pod([owner("Rollout", "r")]), "cache-5d8f7c9b6d-x2x4z"],
    [
      "an owner that does not control",
      pod([{ ...owner("Job", "j"), controller: false }]),
      "cache-5d8f7c9b6d-x2x4z",
    ],
  ])("%s", (_, given, name) => {
    expect(podWorkload(given).name).toBe(name);
  });

  it("is written as the schedule of it is named", () => {
    expect(workloadOfPod(pod([owner("StatefulSet", "db")]))).toBe("db-statefulset");
    const labels = { "pod-template-hash": "5d8f7c9b6d" };
    expect(workloadOfPod(pod([owner("ReplicaSet", "cache-5d8f7c9b6d")], labels))).toBe("cache");
  });
});
