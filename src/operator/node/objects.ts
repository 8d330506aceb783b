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

/** What it is that has the name of a node's object. */
export type Standing =
  /** As it should be. */
  | "right"
  /** Of a node that is gone, or going itself: the garbage collector makes room. */
  | "going"
  /** This node's, and not what it was made as; or somebody's who is not kcr. */
  | "changed";

export function standingOf<T extends KubeObject>(existing: T, wanted: T): Standing {
  const { deletionTimestamp, ownerReferences, labels } = existing.metadata;
  const isOurs = Object.entries(NODE_ACCOUNT_LABELS).every(([key, value]) => labels?.[key] === value);
  if (!isOurs) return "changed";
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
