import { NODE_ACCOUNT_LABELS, NODES_NAMESPACE, nodeRoleName } from "../../api/node-account.ts";
import { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import { Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import { isAlreadyExists } from "../../kube/errors.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import {
  type ClusterRole,
  type ClusterRoleBinding,
  clusterRoleBindings,
  clusterRoles,
  type KubeObject,
  type Node,
  type ObjectName,
  type ServiceAccount,
  serviceAccounts,
} from "../../kube/resources.ts";
import { objectsOf, standingOf } from "./objects.ts";

/** What there is of nodes' accounts; all replicas of the operator keep it. */
export interface NodeAccounts {
  roles: Cache<ClusterRole>;
  bindings: Cache<ClusterRoleBinding>;
  accounts: Cache<ServiceAccount>;
}

export function nodeAccounts(common: { client: Client; log: Logger; metrics: Metrics }): NodeAccounts {
  const labelSelector = Object.entries(NODE_ACCOUNT_LABELS)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  const own = { ...common, labelSelector };
  return {
    roles: new Cache({ ...own, resource: clusterRoles }),
    bindings: new Cache({ ...own, resource: clusterRoleBindings }),
    accounts: new Cache({ ...own, resource: serviceAccounts, namespace: NODES_NAMESPACE }),
  };
}

/**
 * For each node an account that may take checkpoints through that node's kubelet and do nothing else.
 *
 * Guarantees: an account has its right before there can be a token of it. What was taken away is made again.
 * Assumptions: the cluster's garbage collector removes what belongs to a node that is gone. This account is given no
 * right to change or delete a role, lest it could touch anybody's.
 * Errors: an object that somebody changed stays so, and is reported.
 */
export function nodeController(options: {
  client: Client;
  log: Logger;
  metrics?: Metrics;
  nodes: Cache<Node>;
  existing: NodeAccounts;
}): Controller {
  const { client, log, metrics, nodes, existing } = options;

  const reconcile = async ({ name }: ObjectName, signal: AbortSignal): Promise<Outcome> => {
    const node = nodes.get(undefined, name);
    if (node === undefined) return done;
    const wanted = objectsOf(node);
    if (!(await ensure(existing.roles, wanted.role, signal))) return done;
    if (!(await ensure(existing.bindings, wanted.binding, signal))) return done;
    await ensure(existing.accounts, wanted.account, signal);
    return done;
  };

  /** Whether it is there now. */
  const ensure = async <T extends KubeObject>(
    cache: Cache<T>,
    wanted: T,
    signal: AbortSignal,
  ): Promise<boolean> => {
    const { namespace, name } = wanted.metadata;
    const known = cache.get(namespace, name);
    if (known !== undefined) return judge(known, wanted);
    try {
      await client.create(cache.resource, wanted, { signal });
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      // Made a moment ago and not heard of yet; or somebody's, without the label, and never heard of.
      return judge(await client.get(cache.resource, wanted.metadata, { signal }), wanted);
    }
    log.info({ kind: wanted.kind, name }, "made for a node's account");
    return true;
  };

  const judge = <T extends KubeObject>(existing: T, wanted: T): boolean => {
    const standing = standingOf(existing, wanted);
    switch (standing) {
      case "right":
        return true;
      // That it is gone will be heard of.
      case "going":
        return false;
      case "changed":
        throw new Error(
          `${wanted.kind} ${wanted.metadata.name} is not what is made for its node: delete it, and it is made anew`,
        );
      default:
        return standing satisfies never;
    }
  };

  const stem = nodeRoleName("");
  const ofRole = ({ metadata }: KubeObject): ObjectName[] => [{ name: metadata.name.slice(stem.length) }];
  return new Controller({
    name: "node",
    log,
    metrics,
    reconcile,
    sources: [
      changesOf(nodes, ({ metadata }, previous) =>
        previous?.metadata.uid === metadata.uid ? [] : [{ name: metadata.name }],
      ),
      changesOf(existing.roles, ofRole),
      changesOf(existing.bindings, ofRole),
      changesOf(existing.accounts, ({ metadata }) => [{ name: metadata.name }]),
    ],
  });
}
