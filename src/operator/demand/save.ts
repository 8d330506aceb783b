import { API_VERSION } from "../../api/group.ts";
import { requests } from "../../api/kinds.ts";
import { APP_VALUE, LABEL_APP, LABEL_POD, LABEL_POD_NAMESPACE } from "../../api/labels.ts";
import { labelValue, savingRequestName } from "../../api/names.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { type CheckpointRestore, DEFAULT_RESTORE_TIMEOUT_SECONDS } from "../../api/restore.ts";

/**
 * The request for a checkpoint of what a container is before it goes back: the same however often it is made, and
 * owned by nobody, for what it saves stays when the CheckpointRestore goes.
 */
export function saveRequest({ metadata, spec }: CheckpointRestore, container: string): CheckpointRequest {
  const { name, namespace = "", uid = "" } = metadata;
  return {
    apiVersion: API_VERSION,
    kind: requests.kind,
    metadata: {
      name: savingRequestName(name, uid),
      namespace,
      labels: {
        [LABEL_APP]: APP_VALUE,
        [LABEL_POD]: labelValue(spec.podReference.name),
        [LABEL_POD_NAMESPACE]: namespace,
      },
    },
    spec: {
      podReference: { name: spec.podReference.name, namespace },
      containerName: container,
      timeoutSeconds: spec.timeoutSeconds ?? DEFAULT_RESTORE_TIMEOUT_SECONDS,
    },
  };
}
