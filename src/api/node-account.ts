/**
 * Where the accounts of nodes are: for each node one of the node's own name, which may create nodes/checkpoint of that
 * node and nothing else. A namespace of their own keeps whoever may ask for tokens of theirs from all other accounts,
 * and leaves a node's name whole, however long.
 */
export const NODES_NAMESPACE = "kcr-nodes";

/** Name of a node's ClusterRole, and of the ClusterRoleBinding that gives it to the node's account. */
export const nodeRoleName = (node: string): string => `kcr:node:${node}`;

/** On what the operator makes for nodes. */
export const NODE_ACCOUNT_LABELS = {
  "app.kubernetes.io/part-of": "kcr",
  "app.kubernetes.io/component": "node-account",
};
