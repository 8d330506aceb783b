import type { Checkpoint } from "../../api/checkpoint.ts";
import { repositoryName } from "../../api/names.ts";
import { defaultContainer, handlerOf, runtimeID } from "../../api/pod.ts";
import { readRecords } from "../../api/records.ts";
import type { CaptureSource } from "../../api/request.ts";
import { isPushed, pullAddress, registryOf, type Settings } from "../../api/settings.ts";
import { specHash } from "../../api/spec-hash.ts";
import type { Pod } from "../../kube/resources.ts";
import { workloadName } from "../workload.ts";
import type { Dumpable } from "./decide.ts";

/**
 * What is captured, as the pod tells before the dump begins. `parent` is the Checkpoint that the run was restored
 * from, as far as it still exists: what runs is its image then, and only it knows the true base.
 */
export function sourceOf(
  { pod, container, status }: Dumpable,
  parent: Checkpoint | undefined,
  settings: Settings,
): CaptureSource {
  const record = readRecords(pod)[container.name];
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
    repository: repositoryOf(pod, container.name, settings),
    baseImage,
    baseImageDigest:
      record?.parent === undefined ? status.imageID || undefined : parent?.status?.baseImageDigest,
    specHash: specHash(container, baseImage),
    restoredFrom: container.image === parent?.status?.runtimeImage ? container.image : undefined,
    handler: handlerOf(pod),
  };
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
    workloadName(pod),
    container,
  );
}
