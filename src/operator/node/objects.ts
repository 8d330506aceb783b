import { isDeepStrictEqual } from "node:util";
import { NODE_ACCOUNT_LABELS, NODES_NAMESPACE, nodeRoleName } from "../../api/node-account.ts";
import {
  apiVersionOf,
  type ClusterRole,
  type ClusterRoleBinding,
  clusterRoleBindings,
  clusterRoles,
  type KubeObject,
  type Node,
  nodes,
  type ServiceAccount,
  serviceAccounts,
} from "../../kube/resources.ts";

/** What a node's agent needs for its kubelet to take checkpoints; all go with the node. */
export interface NodeObjects {
  role: ClusterRole;
  binding: ClusterRoleBinding;
  account: ServiceAccount;
}

/** Source of the right: the kubelet asks whether the caller may `create` `nodes/checkpoint` of its own node. */
export function objectsOf(node: Node): NodeObjects {
  const { name, uid = "" } = node.metadata;
  const metadata = {
    labels: NODE_ACCOUNT_LABELS,
    // Not blockOwnerDeletion, which takes a right over nodes where owners are guarded.
    ownerReferences: [{ apiVersion: apiVersionOf(nodes), kind: nodes.kind, name, uid }],
  };
  const roleName = nodeRoleName(name);
  const account = { namespace: NODES_NAMESPACE, name };
  return {
    role: {
      apiVersion: apiVersionOf(clusterRoles),
      kind: clusterRoles.kind,
      metadata: { ...metadata, name: roleName },
      rules: [{ apiGroups: [""], resources: ["nodes/checkpoint"], resourceNames: [name], verbs: ["create"] }],
    },
    binding: {
      apiVersion: apiVersionOf(clusterRoleBindings),
      kind: clusterRoleBindings.kind,
      metadata: { ...metadata, name: roleName },
      roleRef: { apiGroup: clusterRoles.group, kind: clusterRoles.kind, name: roleName },
      subjects: [{ kind: serviceAccounts.kind, ...account }],
    },
    account: {
      apiVersion: apiVersionOf(serviceAccounts),
      kind: serviceAccounts.kind,
      metadata: { ...metadata, ...account },
      // Nothing mounts it; its tokens are asked for.
      automountServiceAccountToken: false,
    },
  };
}

/** What there is under a name that a node's object should have. */
export type Standing =
  /** Nothing: it is to be made. */
  | "absent"
  /** As it should be. */
  | "right"
  /** Of a node that is gone, or going itself: the garbage collector makes room. */
  | "going"
  /** This node's, and not what it was made as. */
  | "changed";

export function standingOf<T extends KubeObject>(existing: T | undefined, wanted: T): Standing {
  if (existing === undefined) return "absent";
  const { deletionTimestamp, ownerReferences } = existing.metadata;
  const uid = wanted.metadata.ownerReferences?.[0]?.uid;
  const isOwn = ownerReferences?.some((owner) => owner.uid === uid) ?? false;
  if (deletionTimestamp !== undefined || !isOwn) return "going";
  return isDeepStrictEqual(rightsIn(existing), rightsIn(wanted)) ? "right" : "changed";
}

/** What of an object gives power, or takes it away. */
function rightsIn(object: KubeObject & Partial<ClusterRole & ClusterRoleBinding>): unknown {
  const { rules, aggregationRule, roleRef, subjects } = object;
  return JSON.parse(JSON.stringify({ rules, aggregationRule, roleRef, subjects }));
}
