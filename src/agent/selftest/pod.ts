import { createHash } from "node:crypto";
import type { Draft } from "../../kube/client.ts";
import type { Pod } from "../../kube/resources.ts";

/** RuntimeClass of the self-test's pod: of the same handler as kcr, for every node. */
export const SELFTEST_CLASS = "kcr-selftest";
/** Its only container. */
export const SELFTEST_CONTAINER = "selftest";
/** On the self-test's pod: what is tested. */
export const TESTED_ANNOTATION = "kcr.io/tested";
/** In kcr's directory for self-tests: tells the program to end with an error. */
export const CRASH = "crash";

const PREFIX = "kcr-selftest-";
const MOUNT = "/var/lib/kcr-selftest";
/** In kcr's own image. */
const PROGRAM = "/opt/kcr/runtime/kcr-runtime";

/** Name of a node's self-test pod: the same each time, and one for each node. */
export const selftestName = (node: string): string =>
  `${PREFIX}${createHash("sha256").update(node).digest("hex").slice(0, 12)}`;

/** Whether a pod is a self-test's, of whose plan and notes nobody else takes care. */
export const isSelftest = (pod: { spec?: { runtimeClassName?: string } }): boolean =>
  pod.spec?.runtimeClassName === SELFTEST_CLASS;

/**
 * A pod of kcr's own image, made after the agent's own, whose program counts in memory, ends with an error when it
 * finds a file, and tells what it remembers when it was restored (`--kcr-selftest` of kcr-runtime.c).
 */
export function selftestPod(agent: Pod, node: string, tested: string, directory: string): Draft<Pod> {
  const [container] = agent.spec?.containers ?? [];
  return {
    metadata: {
      name: selftestName(node),
      namespace: agent.metadata.namespace,
      labels: { "app.kubernetes.io/name": "kcr-selftest", "app.kubernetes.io/part-of": "kcr" },
      annotations: { [TESTED_ANNOTATION]: tested },
    },
    spec: {
      runtimeClassName: SELFTEST_CLASS,
      nodeName: node,
      restartPolicy: "OnFailure",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 1,
      priorityClassName: agent.spec?.priorityClassName,
      imagePullSecrets: agent.spec?.imagePullSecrets,
      tolerations: [{ operator: "Exists" }],
      containers: [
        {
          name: SELFTEST_CONTAINER,
          image: container?.image,
          imagePullPolicy: container?.imagePullPolicy,
          command: [PROGRAM, "--kcr-selftest", MOUNT],
          resources: { requests: { cpu: "1m", memory: "4Mi" }, limits: { memory: "32Mi" } },
          securityContext: {
            runAsUser: 0,
            runAsGroup: 0,
            allowPrivilegeEscalation: false,
            capabilities: { drop: ["ALL"] },
            seccompProfile: { type: "RuntimeDefault" },
          },
          volumeMounts: [{ name: "selftest", mountPath: MOUNT, readOnly: true }],
        },
      ],
      volumes: [{ name: "selftest", hostPath: { path: directory, type: "Directory" } }],
    },
  };
}
