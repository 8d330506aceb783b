import type { Checkpoint } from "../../api/checkpoint.ts";
import { LABEL_WORKLOAD } from "../../api/labels.ts";
import { repositoryName } from "../../api/names.ts";
import { defaultContainer, handlerOf, runtimeID } from "../../api/pod.ts";
import { type ContainerRecord, readRecords } from "../../api/records.ts";
import type { CaptureSource } from "../../api/request.ts";
import { isPushed, pullAddress, registryOf, type Settings } from "../../api/settings.ts";
import { specHash } from "../../api/spec-hash.ts";
import { podWorkload, workloadOfPod } from "../../api/workload.ts";
import type { Pod } from "../../kube/resources.ts";
import { formatCriuOptions } from "../../store/criu-options.ts";
import type { KnownRun } from "../plan/runs.ts";
import { type Dumpable, optionsInUse } from "./decide.ts";

/**
 * What is captured, as the pod tells before the dump begins. `parent` is the Checkpoint whose image the run was
 * restored from, as far as it still exists: what runs is its image then, and only it knows the true base. A pod of
 * class kcr runs its own image always, and where its state came from its handler knows.
 */
export function sourceOf(
  dumpable: Dumpable,
  parent: Checkpoint | undefined,
  settings: Settings,
): CaptureSource {
  const { pod, container, status, run } = dumpable;
  const handler = handlerOf(pod);
  const record = handler === undefined ? readRecords(pod)[container.name] : recordOf(run);
  const isOfImage = handler === undefined && record?.parent !== undefined;
  const baseImage = record?.originalImage ?? container.image ?? status.image;
  return {
    lineage: {
      podUID: pod.metadata.uid ?? "",
      containerID: runtimeID(status.containerID) ?? "",
      restartCount: status.restartCount,
      parent: record?.parent,
      parentOrigin: record?.parentOrigin,
    },
    defaultContainer: defaultContainer(pod) ?? container.name,
    labels: { ...pod.metadata.labels, [LABEL_WORKLOAD]: workloadOfPod(pod) },
    repository: repositoryOf(pod, container.name, settings),
    baseImage,
    baseImageDigest: isOfImage ? parent?.status?.baseImageDigest : status.imageID || undefined,
    specHash: specHash(container, baseImage),
    restoredFrom: container.image === parent?.status?.runtimeImage ? container.image : undefined,
    handler,
    criuOptions: formatCriuOptions(optionsInUse(dumpable, settings)) || undefined,
  };
}

/** What a record would say of a run that the handler knows. */
function recordOf(
  run: KnownRun | undefined,
): Partial<Pick<ContainerRecord, "originalImage" | "parent" | "parentOrigin">> | undefined {
  const from = run?.restoredFrom;
  if (from === undefined) return undefined;
  const { checkpoint: parent, containerID, takenTime } = from;
  return { parent, parentOrigin: { containerID, takenTime } };
}

/** Repository path of the container's images; undefined where nothing is pushed. */
function repositoryOf(pod: Pod, container: string, settings: Settings): string | undefined {
  if (!isPushed(settings)) return undefined;
  const registry = registryOf(settings);
  const { push, prefix } = registry;
  const pull = pullAddress(registry);
  return repositoryName(
    push.length > pull.length ? push : pull,
    prefix,
    pod.metadata.namespace ?? "",
    podWorkload(pod).name,
    container,
  );
}
