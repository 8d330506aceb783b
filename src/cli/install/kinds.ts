import {
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  customResourceDefinitions,
  daemonSets,
  deployments,
  type KubeObject,
  mutatingWebhookConfigurations,
  namespaces,
  type Resource,
  resource,
  runtimeClasses,
  serviceAccounts,
  services,
} from "../../kube/resources.ts";

const rbac = { group: "rbac.authorization.k8s.io", version: "v1" };
const admission = { group: "admissionregistration.k8s.io", version: "v1" };

export const validatingAdmissionPolicies = resource<KubeObject>({
  ...admission,
  plural: "validatingadmissionpolicies",
  kind: "ValidatingAdmissionPolicy",
  namespaced: false,
});
export const validatingAdmissionPolicyBindings = resource<KubeObject>({
  ...admission,
  plural: "validatingadmissionpolicybindings",
  kind: "ValidatingAdmissionPolicyBinding",
  namespaced: false,
});

/** The kinds of kcr's manifests, in the order in which they are applied: what others rest on comes first. */
export const MANIFEST_KINDS: readonly Resource[] = [
  namespaces,
  customResourceDefinitions,
  resource({ group: "", version: "v1", plural: "resourcequotas", kind: "ResourceQuota" }),
  serviceAccounts,
  clusterRoles,
  clusterRoleBindings,
  resource({ ...rbac, plural: "roles", kind: "Role" }),
  resource({ ...rbac, plural: "rolebindings", kind: "RoleBinding" }),
  configMaps,
  services,
  resource({ group: "networking.k8s.io", version: "v1", plural: "networkpolicies", kind: "NetworkPolicy" }),
  runtimeClasses,
  // Before the programs that they hold to what they need.
  validatingAdmissionPolicies,
  validatingAdmissionPolicyBindings,
  mutatingWebhookConfigurations,
  deployments,
  daemonSets,
] as readonly Resource[];

/** Errors: for a kind that is not among kcr's manifests. */
export function resourceOf({ apiVersion, kind }: KubeObject): Resource {
  const found = MANIFEST_KINDS.find((one) => one.kind === kind);
  if (found === undefined) throw new Error(`${apiVersion} ${kind} is not known to the installation`);
  return found;
}
