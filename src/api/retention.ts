import { z } from "zod";
import { parseDuration } from "../kube/duration.ts";
import { parseQuantity } from "../kube/quantity.ts";
import type { KubeObject } from "../kube/resources.ts";
import { conditions, duration, labelName, labelSelector, objectName, rules } from "./common.ts";

/** A bare number is one of bytes: nobody means less than so many by it. */
const BARE_MIN = 1_048_576;

/** resource.Quantity of bytes. */
const size = z.union([z.int(), z.string().max(32)]).meta({
  "x-kubernetes-int-or-string": true,
  ...rules(
    {
      rule: "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('0')) >= 0",
      message: "a quantity of bytes, such as 10Gi",
    },
    {
      rule: `!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('0')) == 0 || quantity(string(self)).compareTo(quantity(string(self).matches('^[0-9]+$') ? '${BARE_MIN}' : '1Ki')) >= 0`,
      message: "so few bytes are surely not meant: write the unit, such as 10Gi",
    },
  ),
});

const amount = z.int().min(0).max(100_000);

/** What must stay. Any of them is enough for a Checkpoint; only good ones count. */
const keeps = {
  keepLast: amount.optional().describe("The newest so many stay."),
  keepHourly: amount
    .optional()
    .describe("Of each of the newest so many hours in which there are any, the newest one stays."),
  keepDaily: amount.optional().describe("The same of days (UTC)."),
  keepWeekly: amount.optional().describe("The same of weeks, from Monday on (UTC)."),
};

/** What must not be exceeded, by what is kept neither. */
const limits = {
  maxAge: duration.optional().describe("Older ones go. A duration such as 720h."),
  maxCount: amount.optional().describe("Of more than so many the oldest go."),
  maxTotalSize: size.optional().describe("Of more bytes than that together the oldest go, such as 100Gi."),
  maxCheckpointSize: size.optional().describe("Larger ones go, such as 10Gi."),
};

const per = z
  .enum(["Container", "Pod", "Workload", "Namespace"])
  .default("Container")
  .describe(
    "Of what numbers and sizes are counted. Pods that no longer exist count together, as one pod of their workload.",
  );

const mayRemoveAll = z
  .boolean()
  .optional()
  .describe("Says that a rule by which nothing stays, such as maxCount: 0, is meant.");

/** Refused unless said to be meant: what by a slip would let everything go. `0` is none, absent is no limit. */
const notByAccident = (withKeeps: boolean) => {
  const zero = [
    "(has(self.maxCount) && self.maxCount == 0)",
    "(has(self.maxAge) && duration(self.maxAge) == duration('0s'))",
    ...["maxTotalSize", "maxCheckpointSize"].map(
      (field) =>
        `(has(self.${field}) && isQuantity(string(self.${field})) && quantity(string(self.${field})).compareTo(quantity('0')) == 0)`,
    ),
  ];
  if (withKeeps) {
    const names = Object.keys(keeps);
    const any = names.map((name) => `has(self.${name})`).join(" || ");
    const none = names.map((name) => `(!has(self.${name}) || self.${name} == 0)`).join(" && ");
    zero.push(`((${any}) && ${none})`);
  }
  return {
    rule: `(has(self.mayRemoveAll) && self.mayRemoveAll) || !(${zero.join(" || ")})`,
    message:
      "0 means none, so that everything would go: leave it out for no limit, or add mayRemoveAll: true",
  };
};

const retainOrphan = z
  .boolean()
  .optional()
  .describe("False: checkpoints of pods that no longer exist go, once they are no lost state any more.");

const shape = { ...keeps, ...limits, retainOrphan, per, mayRemoveAll };

/** Rules of one place: of a CheckpointSchedule, or the defaults of the cluster. */
export const retentionRules = z.object(shape).meta(rules(notByAccident(true)));
export type RetentionRules = z.input<typeof retentionRules>;

/**
 * Whether rules that no API server has seen, such as those of a file, are readable and leave something; the same as it
 * asks of a policy.
 */
export function isHarmless(said: RetentionRules): boolean {
  const { maxAge, maxTotalSize, maxCheckpointSize, maxCount, mayRemoveAll = false } = said;
  try {
    const age = maxAge === undefined ? Number.POSITIVE_INFINITY : parseDuration(maxAge);
    const sizes = [maxTotalSize, maxCheckpointSize]
      .filter((size) => size !== undefined)
      .map((size) => parseQuantity(String(size)));
    if (sizes.some((bytes) => bytes < 0 || (bytes > 0 && bytes < BARE_MIN))) return false;
    const kept = [said.keepLast, said.keepHourly, said.keepDaily, said.keepWeekly].filter(
      (keep) => keep !== undefined,
    );
    const keepsNone = kept.length > 0 && kept.every((keep) => keep === 0);
    return mayRemoveAll || !(maxCount === 0 || age === 0 || sizes.includes(0) || keepsNone);
  } catch {
    return false;
  }
}

export const scheduleRetention = z
  .object({
    ...shape,
    onWorkloadDeleted: z
      .enum(["Delete", "Retain"])
      .default("Delete")
      .describe("Whether the schedule's checkpoints go with it and its workload."),
  })
  .meta(rules(notByAccident(true)));

export const retentionSpec = z
  .object({
    selector: labelSelector
      .optional()
      .describe(
        "Labels of Checkpoints: those that their pods had, and pod, container, kcr.io/workload. Absent: all of the namespace, those on demand included.",
      ),
    ...shape,
    dryRun: z.boolean().optional().describe("True only tells in the status what would go."),
  })
  .meta(rules(notByAccident(true)));
export type RetentionSpec = z.input<typeof retentionSpec>;

export const clusterRetentionSpec = z
  .object({
    namespaceSelector: labelSelector.optional().describe("Labels of namespaces. Absent: all of them."),
    defaults: retentionRules
      .optional()
      .describe("For checkpoints of schedules, as far as nothing in their namespace says otherwise."),
    ceilings: z
      .object({ ...limits, per, mayRemoveAll })
      .meta(rules(notByAccident(false)))
      .optional()
      .describe("Hold whatever is said in a namespace, for checkpoints on demand too."),
    foreignArchives: z
      .object({
        maxAge: duration.describe("Older ones go: at least an hour.").meta(
          rules({
            rule: "duration(self) >= duration('1h')",
            message: "so young they are surely still needed: an hour is the least",
          }),
        ),
      })
      .optional()
      .describe("Archives in the kubelets' checkpoint directories that kcr did not make. Absent: they stay."),
    dryRun: z.boolean().optional().describe("True only tells in the status what would go."),
  })
  .meta(
    rules({
      rule: "!has(self.namespaceSelector) || !has(self.foreignArchives)",
      message:
        "archives of others are of no namespace: foreignArchives belongs in a policy without namespaceSelector",
    }),
  );
export type ClusterRetentionSpec = z.input<typeof clusterRetentionSpec>;

const tally = z.object({ count: z.int().min(0), bytes: z.int().min(0) });

export const retentionStatus = z.object({
  observedGeneration: z.int().optional(),
  matched: tally.optional().describe("The Checkpoints that it is about."),
  removable: tally.optional().describe("Those that go next by its word."),
  next: z
    .array(
      z.object({
        namespace: labelName.optional(),
        name: objectName,
        why: z.string().max(1024),
        bytes: z.int().min(0),
      }),
    )
    .max(20)
    .optional()
    .describe("The first of those."),
  conditions: conditions.optional(),
});
export type RetentionStatus = z.infer<typeof retentionStatus>;

/** What stays of a namespace's Checkpoints. */
export interface CheckpointRetention extends KubeObject {
  spec: RetentionSpec;
  status?: RetentionStatus;
}

/** What stays of all Checkpoints: defaults, and ceilings that no namespace can lift. */
export interface ClusterCheckpointRetention extends KubeObject {
  spec: ClusterRetentionSpec;
  status?: RetentionStatus;
}
