import type {
  AuthenticationV1TokenRequest,
  EventsV1Event,
  V1CertificateSigningRequest,
  V1ClusterRole,
  V1ClusterRoleBinding,
  V1ConfigMap,
  V1CustomResourceDefinition,
  V1DaemonSet,
  V1Deployment,
  V1Job,
  V1Lease,
  V1MutatingWebhookConfiguration,
  V1Namespace,
  V1Node,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ReplicaSet,
  V1RuntimeClass,
  V1Secret,
  V1Service,
  V1ServiceAccount,
  V1StatefulSet,
} from "@kubernetes/client-node";

/** `metadata` as it is in JSON: times are RFC 3339 strings. */
export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  generateName?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  finalizers?: string[];
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  managedFields?: unknown[];
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Any Kubernetes object, as it is in JSON. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

declare const objectType: unique symbol;

/** A kind of object and where the API server serves it. `T`, the object's type, exists for the compiler only. */
export interface Resource<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly [objectType]?: T;
}

/** Declares a resource: `resource<Widget>({ group: "example.com", version: "v1", plural: "widgets", kind: "Widget" })`. */
export function resource<T extends KubeObject>(
  definition: Omit<Resource, "namespaced"> & { namespaced?: boolean },
): Resource<T> {
  const { group, version, plural, kind, namespaced = true } = definition;
  return { group, version, plural, kind, namespaced };
}

/** A resource's `apiVersion`: `v1`, `apps/v1`. */
export function apiVersionOf({ group, version }: Resource): string {
  return group === "" ? version : `${group}/${version}`;
}

/** Name of one object; cluster-scoped ones have no namespace. */
export interface ObjectName {
  namespace?: string;
  name: string;
}

/** A generated type as its JSON really is: the client's generator turns times into `Date`, the wire has strings. */
export type Json<T> = T extends Date
  ? string
  : T extends Array<infer Item>
    ? Json<Item>[]
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T;

type Typed<T> = Omit<Json<T>, "metadata"> & { metadata: ObjectMeta };

export type Pod = Typed<V1Pod>;
export type Node = Typed<V1Node>;
export type Namespace = Typed<V1Namespace>;
export type Secret = Typed<V1Secret>;
export type ConfigMap = Typed<V1ConfigMap>;
export type Service = Typed<V1Service>;
export type ServiceAccount = Typed<V1ServiceAccount>;
export type PersistentVolumeClaim = Typed<V1PersistentVolumeClaim>;
export type Deployment = Typed<V1Deployment>;
export type ReplicaSet = Typed<V1ReplicaSet>;
export type StatefulSet = Typed<V1StatefulSet>;
export type DaemonSet = Typed<V1DaemonSet>;
export type Job = Typed<V1Job>;
export type Lease = Typed<V1Lease>;
export type CertificateSigningRequest = Typed<V1CertificateSigningRequest>;
export type KubeEvent = Typed<EventsV1Event>;
export type RuntimeClass = Typed<V1RuntimeClass>;
export type MutatingWebhookConfiguration = Typed<V1MutatingWebhookConfiguration>;
export type CustomResourceDefinition = Typed<V1CustomResourceDefinition>;
export type ClusterRole = Typed<V1ClusterRole>;
export type ClusterRoleBinding = Typed<V1ClusterRoleBinding>;
/** What a service account's subresource `token` takes and gives. */
export type TokenRequest = Omit<Json<AuthenticationV1TokenRequest>, "metadata">;

const core = { group: "", version: "v1" };
const apps = { group: "apps", version: "v1" };

export const pods = resource<Pod>({ ...core, plural: "pods", kind: "Pod" });
export const nodes = resource<Node>({ ...core, plural: "nodes", kind: "Node", namespaced: false });
export const namespaces = resource<Namespace>({
  ...core,
  plural: "namespaces",
  kind: "Namespace",
  namespaced: false,
});
export const secrets = resource<Secret>({ ...core, plural: "secrets", kind: "Secret" });
export const configMaps = resource<ConfigMap>({ ...core, plural: "configmaps", kind: "ConfigMap" });
export const services = resource<Service>({ ...core, plural: "services", kind: "Service" });
export const serviceAccounts = resource<ServiceAccount>({
  ...core,
  plural: "serviceaccounts",
  kind: "ServiceAccount",
});
export const persistentVolumeClaims = resource<PersistentVolumeClaim>({
  ...core,
  plural: "persistentvolumeclaims",
  kind: "PersistentVolumeClaim",
});
export const deployments = resource<Deployment>({ ...apps, plural: "deployments", kind: "Deployment" });
export const replicaSets = resource<ReplicaSet>({ ...apps, plural: "replicasets", kind: "ReplicaSet" });
export const statefulSets = resource<StatefulSet>({ ...apps, plural: "statefulsets", kind: "StatefulSet" });
export const daemonSets = resource<DaemonSet>({ ...apps, plural: "daemonsets", kind: "DaemonSet" });
export const jobs = resource<Job>({ group: "batch", version: "v1", plural: "jobs", kind: "Job" });
export const leases = resource<Lease>({
  group: "coordination.k8s.io",
  version: "v1",
  plural: "leases",
  kind: "Lease",
});
export const events = resource<KubeEvent>({
  group: "events.k8s.io",
  version: "v1",
  plural: "events",
  kind: "Event",
});
export const certificateSigningRequests = resource<CertificateSigningRequest>({
  group: "certificates.k8s.io",
  version: "v1",
  plural: "certificatesigningrequests",
  kind: "CertificateSigningRequest",
  namespaced: false,
});
export const runtimeClasses = resource<RuntimeClass>({
  group: "node.k8s.io",
  version: "v1",
  plural: "runtimeclasses",
  kind: "RuntimeClass",
  namespaced: false,
});
export const mutatingWebhookConfigurations = resource<MutatingWebhookConfiguration>({
  group: "admissionregistration.k8s.io",
  version: "v1",
  plural: "mutatingwebhookconfigurations",
  kind: "MutatingWebhookConfiguration",
  namespaced: false,
});
export const customResourceDefinitions = resource<CustomResourceDefinition>({
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  kind: "CustomResourceDefinition",
  namespaced: false,
});
export const clusterRoles = resource<ClusterRole>({
  group: "rbac.authorization.k8s.io",
  version: "v1",
  plural: "clusterroles",
  kind: "ClusterRole",
  namespaced: false,
});
export const clusterRoleBindings = resource<ClusterRoleBinding>({
  group: "rbac.authorization.k8s.io",
  version: "v1",
  plural: "clusterrolebindings",
  kind: "ClusterRoleBinding",
  namespaced: false,
});
