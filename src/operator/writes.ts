import {
  checkpoints,
  clusterRetentions,
  downloads,
  requests,
  restores,
  retentions,
  schedules,
} from "../api/kinds.ts";
import {
  certificateSigningRequests,
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  deployments,
  events,
  leases,
  mutatingWebhookConfigurations,
  pods,
  type Resource,
  secrets,
  serviceAccounts,
} from "../kube/resources.ts";

/**
 * A Lease does not fence: a leader that was frozen, or whose request was long on its way, may write when another leads
 * already. What keeps such a write from having an effect:
 */
export type Fence =
  /** It creates what has its name from what it is made for: a second one is answered AlreadyExists. */
  | "name"
  /** It carries the resourceVersion it was decided on: Conflict. */
  | "version"
  /** It is a JSON patch that tests that version, and of a pod the uid: 422. */
  | "tests"
  /** It deletes the object of that uid: Conflict for another of its name. */
  | "uid"
  /** It is applied by a manager that nobody else is: what another has set to another value is a Conflict. */
  | "manager";

export interface Write {
  /** `apply`: a server-side apply, for which an account needs create and patch. */
  verb: "create" | "update" | "patch" | "apply" | "delete";
  resource: Resource;
  subresource?: string;
  fence: Fence;
}

/** Every kind of write that the operator sends to the API server. */
export const WRITES: readonly Write[] = [
  { verb: "create", resource: leases, fence: "name" },
  { verb: "update", resource: leases, fence: "version" },
  { verb: "create", resource: events, fence: "name" },
  { verb: "patch", resource: events, fence: "version" },

  { verb: "create", resource: schedules, fence: "name" },
  { verb: "patch", resource: schedules, fence: "version" },
  { verb: "delete", resource: schedules, fence: "uid" },
  { verb: "patch", resource: schedules, subresource: "status", fence: "version" },
  { verb: "patch", resource: deployments, subresource: "status", fence: "version" },
  { verb: "create", resource: requests, fence: "name" },
  { verb: "patch", resource: requests, subresource: "status", fence: "version" },
  { verb: "patch", resource: checkpoints, fence: "version" },
  { verb: "patch", resource: checkpoints, subresource: "status", fence: "version" },
  { verb: "patch", resource: restores, subresource: "status", fence: "version" },
  { verb: "patch", resource: downloads, subresource: "status", fence: "version" },
  { verb: "delete", resource: downloads, fence: "uid" },
  // At the version that was decided on, too.
  { verb: "delete", resource: checkpoints, fence: "uid" },
  { verb: "delete", resource: requests, fence: "uid" },
  { verb: "patch", resource: retentions, subresource: "status", fence: "version" },
  { verb: "patch", resource: clusterRetentions, subresource: "status", fence: "version" },

  { verb: "patch", resource: pods, fence: "tests" },
  { verb: "patch", resource: pods, subresource: "status", fence: "version" },
  // The pull probe.
  { verb: "create", resource: pods, fence: "name" },
  { verb: "delete", resource: pods, fence: "uid" },

  // Nodes' accounts.
  { verb: "create", resource: clusterRoles, fence: "name" },
  { verb: "create", resource: clusterRoleBindings, fence: "name" },
  { verb: "create", resource: serviceAccounts, fence: "name" },

  // Certificates: the webhook's, and those of agents.
  { verb: "apply", resource: secrets, fence: "manager" },
  { verb: "patch", resource: secrets, fence: "version" },
  { verb: "apply", resource: configMaps, fence: "manager" },
  { verb: "patch", resource: configMaps, fence: "version" },
  { verb: "patch", resource: mutatingWebhookConfigurations, fence: "tests" },
  { verb: "patch", resource: certificateSigningRequests, subresource: "approval", fence: "version" },
  { verb: "patch", resource: certificateSigningRequests, subresource: "status", fence: "version" },
];
