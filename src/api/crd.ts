import { z } from "zod";
import { checkpointSpec, checkpointStatus } from "./checkpoint.ts";
import { downloadSpec, downloadStatus } from "./download.ts";
import { GROUP, KINDS_ANNOTATION, KINDS_VERSION, VERSION } from "./group.ts";
import {
  checkpoints,
  clusterRetentions,
  downloads,
  requests,
  restores,
  retentions,
  schedules,
} from "./kinds.ts";
import { requestSpec, requestStatus } from "./request.ts";
import { restoreSpec, restoreStatus } from "./restore.ts";
import { clusterRetentionSpec, retentionSpec, retentionStatus } from "./retention.ts";
import { scheduleSpec, scheduleStatus } from "./schedule.ts";

interface Column {
  name: string;
  type: "string" | "date" | "integer" | "boolean";
  jsonPath: string;
  priority?: number;
  description?: string;
}

interface Kind {
  resource: { plural: string; kind: string; namespaced: boolean };
  singular: string;
  shortNames: string[];
  description: string;
  spec: z.ZodType;
  status: z.ZodType;
  columns: Column[];
  /** Paths by which lists and watches may be narrowed: an agent sees the objects of its own node only. */
  selectable: string[];
}

const age: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const when = (type: string, field: "status" | "reason"): string =>
  `.status.conditions[?(@.type=="${type}")].${field}`;

/** As `kubectl get` shows both kinds of retention. */
const retentionColumns: Column[] = [
  { name: "Dry Run", type: "boolean", jsonPath: ".spec.dryRun" },
  { name: "Ready", type: "string", jsonPath: when("Ready", "status") },
  { name: "Reason", type: "string", jsonPath: when("Ready", "reason") },
  { name: "Checkpoints", type: "integer", jsonPath: ".status.matched.count" },
  { name: "Bytes", type: "integer", jsonPath: ".status.matched.bytes" },
  { name: "To Go", type: "integer", jsonPath: ".status.removable.count" },
  age,
];

const kinds: Kind[] = [
  {
    resource: schedules,
    singular: "checkpointschedule",
    shortNames: ["ckpts"],
    description: "Takes checkpoints of the containers of matching pods whenever its cron expression is due.",
    spec: scheduleSpec,
    status: scheduleStatus,
    columns: [
      { name: "Schedule", type: "string", jsonPath: ".spec.schedule" },
      { name: "Suspend", type: "boolean", jsonPath: ".spec.suspend" },
      { name: "Ready", type: "string", jsonPath: when("Ready", "status") },
      { name: "Reason", type: "string", jsonPath: when("Ready", "reason") },
      { name: "Last Good", type: "date", jsonPath: ".status.lastSuccessfulTime" },
      { name: "Last Run", type: "date", jsonPath: ".status.lastRunTime" },
      { name: "Next Run", type: "string", jsonPath: ".status.nextRunTime", priority: 1 },
      age,
    ],
    selectable: [],
  },
  {
    resource: requests,
    singular: "checkpointrequest",
    shortNames: ["ckptreq"],
    description: "Asks for one checkpoint of one container, made by a schedule or by a person.",
    spec: requestSpec,
    status: requestStatus,
    columns: [
      { name: "Pod", type: "string", jsonPath: ".spec.podReference.name" },
      { name: "Container", type: "string", jsonPath: ".status.containerName" },
      { name: "Phase", type: "string", jsonPath: ".status.phase" },
      { name: "Reason", type: "string", jsonPath: ".status.reason" },
      { name: "Checkpoint", type: "string", jsonPath: ".status.checkpoint.name" },
      { name: "Node", type: "string", jsonPath: ".status.nodeName", priority: 1 },
      { name: "Message", type: "string", jsonPath: ".status.message", priority: 1 },
      age,
    ],
    selectable: [".status.nodeName"],
  },
  {
    resource: checkpoints,
    singular: "checkpoint",
    shortNames: ["ckpt"],
    description: "The state of one container at one instant, and where its bytes lie.",
    spec: checkpointSpec,
    status: checkpointStatus,
    columns: [
      { name: "Container", type: "string", jsonPath: ".spec.containerName" },
      { name: "Phase", type: "string", jsonPath: ".status.phase" },
      { name: "Restorable", type: "string", jsonPath: when("Restorable", "status") },
      { name: "Poisoned", type: "string", jsonPath: when("Poisoned", "status"), priority: 1 },
      { name: "Bytes", type: "integer", jsonPath: ".status.sizeBytes" },
      { name: "Frozen us", type: "integer", jsonPath: ".status.frozenMicroseconds" },
      { name: "Restored", type: "integer", jsonPath: ".status.restoredCount" },
      { name: "Node", type: "string", jsonPath: ".spec.nodeName", priority: 1 },
      { name: "Image", type: "string", jsonPath: ".status.runtimeImage", priority: 1 },
      { name: "Parent", type: "string", jsonPath: ".status.lineage.parent", priority: 1 },
      age,
    ],
    selectable: [".spec.nodeName", ".spec.containerName"],
  },
  {
    resource: restores,
    singular: "checkpointrestore",
    shortNames: ["ckptres"],
    description: "Takes one container back to one Checkpoint, because a person asked for it.",
    spec: restoreSpec,
    status: restoreStatus,
    columns: [
      { name: "Checkpoint", type: "string", jsonPath: ".spec.checkpointName" },
      { name: "Pod", type: "string", jsonPath: ".spec.podReference.name" },
      { name: "Container", type: "string", jsonPath: ".status.containerName" },
      { name: "Phase", type: "string", jsonPath: ".status.phase" },
      { name: "Reason", type: "string", jsonPath: ".status.reason" },
      { name: "Saved", type: "string", jsonPath: ".status.savedCheckpoint" },
      { name: "Strategy", type: "string", jsonPath: ".status.strategy", priority: 1 },
      { name: "Node", type: "string", jsonPath: ".status.nodeName", priority: 1 },
      { name: "Message", type: "string", jsonPath: ".status.message", priority: 1 },
      age,
    ],
    selectable: [".status.nodeName"],
  },
  {
    resource: downloads,
    singular: "checkpointdownload",
    shortNames: ["ckptdl"],
    description: "Asks for the bytes of one Checkpoint, for the holder of a key and a short time.",
    spec: downloadSpec,
    status: downloadStatus,
    columns: [
      { name: "Checkpoint", type: "string", jsonPath: ".spec.checkpointName" },
      { name: "Phase", type: "string", jsonPath: ".status.phase" },
      { name: "Reason", type: "string", jsonPath: ".status.reason" },
      { name: "Bytes", type: "integer", jsonPath: ".status.sizeBytes" },
      { name: "Expires", type: "string", jsonPath: ".status.expirationTime" },
      { name: "Message", type: "string", jsonPath: ".status.message", priority: 1 },
      age,
    ],
    selectable: [],
  },
  {
    resource: retentions,
    singular: "checkpointretention",
    shortNames: ["ckptret"],
    description: "Says which Checkpoints of its namespace stay.",
    spec: retentionSpec,
    status: retentionStatus,
    columns: retentionColumns,
    selectable: [],
  },
  {
    resource: clusterRetentions,
    singular: "clustercheckpointretention",
    shortNames: ["cckptret"],
    description:
      "Says which Checkpoints stay where namespaces say nothing, and what none of them may exceed.",
    spec: clusterRetentionSpec,
    status: retentionStatus,
    columns: retentionColumns,
    selectable: [],
  },
];

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * zod's JSON Schema as a structural schema of apiextensions/v1: that knows no $schema, no closed objects, no
 * safe-integer bounds, and takes a date-time by its format alone.
 */
function structural(schema: Json): Json {
  if (Array.isArray(schema)) return schema.map(structural);
  if (typeof schema !== "object" || schema === null) return schema;
  const out: { [key: string]: Json } = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === "$schema" || key === "propertyNames" || key === "id") continue;
    if (key === "additionalProperties" && typeof value === "boolean") continue;
    if (key === "pattern" && schema["format"] === "date-time") continue;
    // The API server has its own word for one of both.
    if (key === "anyOf" && schema["x-kubernetes-int-or-string"] === true) continue;
    if (key === "maximum" && value === Number.MAX_SAFE_INTEGER) continue;
    if (key === "minimum" && value === Number.MIN_SAFE_INTEGER) continue;
    if (key === "properties") {
      out[key] = Object.fromEntries(
        Object.entries(value as { [key: string]: Json }).map(([name, property]) => [
          name,
          structural(property),
        ]),
      );
    } else if (
      key === "x-kubernetes-validations" ||
      key === "enum" ||
      key === "required" ||
      key === "default"
    ) {
      out[key] = value;
    } else {
      out[key] = structural(value);
    }
  }
  if (out["type"] === "integer" && out["format"] === undefined) out["format"] = "int64";
  return out;
}

const toSchema = (type: z.ZodType): Json =>
  structural(z.toJSONSchema(type, { target: "openapi-3.0", io: "input" }) as Json);

function crd(kind: Kind): object {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: `${kind.resource.plural}.${GROUP}`,
      labels: { "app.kubernetes.io/part-of": "kcr" },
      annotations: { [KINDS_ANNOTATION]: `${KINDS_VERSION}` },
    },
    spec: {
      group: GROUP,
      scope: kind.resource.namespaced ? "Namespaced" : "Cluster",
      names: {
        kind: kind.resource.kind,
        listKind: `${kind.resource.kind}List`,
        plural: kind.resource.plural,
        singular: kind.singular,
        shortNames: kind.shortNames,
        categories: ["kcr"],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: kind.columns,
          ...(kind.selectable.length > 0
            ? { selectableFields: kind.selectable.map((jsonPath) => ({ jsonPath })) }
            : {}),
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: kind.description,
              required: ["spec"],
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: { type: "object" },
                spec: toSchema(kind.spec),
                status: toSchema(kind.status),
              },
            },
          },
        },
      ],
    },
  };
}

/** The CustomResourceDefinitions by file name, as `npm run generate` writes them to config/crd. */
export const customResourceDefinitions = (): Map<string, object> =>
  new Map(kinds.map((kind) => [`${kind.resource.plural}.yaml`, crd(kind)]));
