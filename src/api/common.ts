import { z } from "zod";
import { DURATION } from "../kube/duration.ts";

/** Longest forms that the API server accepts: a DNS-1123 subdomain and a DNS-1123 label. */
export const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** Name of an object or node: at most 253 characters, no `/`, no `..`. */
export const objectName = z.string().min(1).max(253).regex(SUBDOMAIN);
/** Name of a namespace or container: at most 63 characters. */
export const labelName = z.string().min(1).max(63).regex(LABEL);
/** Time in RFC 3339, as the API server writes it. */
export const time = z.iso.datetime({ offset: true });

/** metav1.Duration: `720h`, `1h30m`. */
export const duration = z.string().min(1).max(32).regex(DURATION);

const labelKey = z.string().min(1).max(317);
const labelValue = z.string().max(63);

/** A CEL rule as a CRD carries it. Source: Kubernetes "CustomResourceDefinition validation rules". */
export interface ValidationRule {
  rule: string;
  message: string;
}
export const rules = (...list: ValidationRule[]) => ({ "x-kubernetes-validations": list });

export const labelSelector = z
  .object({
    matchLabels: z.record(labelKey, labelValue).optional(),
    matchExpressions: z
      .array(
        z.object({
          key: labelKey,
          operator: z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
          values: z.array(labelValue).max(64).optional(),
        }),
      )
      .max(32)
      .optional(),
  })
  .meta(
    rules({
      rule: "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
      message: "an empty selector would select every pod of the namespace: name at least one label",
    }),
  );
export type LabelSelector = z.infer<typeof labelSelector>;

/** A reference to an object of the same cluster (the field set of core/v1 ObjectReference that is in use). */
export const objectReference = z.object({
  apiVersion: z.string().max(253).optional(),
  kind: z.string().max(63).optional(),
  name: objectName,
  namespace: labelName.optional(),
  uid: z.string().max(64).optional(),
});
export type ObjectReference = z.infer<typeof objectReference>;

/** metav1.Condition. */
export const condition = z.object({
  type: z.string().min(1).max(316),
  status: z.enum(["True", "False", "Unknown"]),
  reason: z.string().min(1).max(1024),
  message: z.string().max(32768),
  lastTransitionTime: time,
  observedGeneration: z.int().min(0).optional(),
});
export type Condition = z.infer<typeof condition>;

export const conditions = z
  .array(condition)
  .max(32)
  .meta({ "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] });
