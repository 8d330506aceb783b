import { type Checkpoint, RESTORABLE } from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { isGood, isPoisoned } from "../../api/kinds.ts";
import { LABEL_POD } from "../../api/labels.ts";
import { age } from "../output/age.ts";
import type { Tone } from "../output/colour.ts";
import { duration, size } from "../output/sizes.ts";
import type { Column } from "../output/table.ts";

/** One word for what a Checkpoint is worth. */
export function stateOf(checkpoint: Checkpoint): string {
  const { metadata, status } = checkpoint;
  if (metadata.deletionTimestamp !== undefined) return "Terminating";
  if (isPoisoned(checkpoint)) return "Poisoned";
  if (isGood(checkpoint)) return "Good";
  const restorable = findCondition(status?.conditions, RESTORABLE);
  if (status?.phase === "Failed" || restorable?.status === "False") return "Failed";
  return status?.phase ?? "Created";
}

export const toneOf = (checkpoint: Checkpoint): Tone | undefined =>
  (({ Good: "good", Poisoned: "bad", Failed: "bad" }) as const)[stateOf(checkpoint)];

/** The pod's name, or what the label holds of one that is too long for it. */
export const podOf = ({ metadata }: Checkpoint): string | undefined => metadata.labels?.[LABEL_POD];

/** Where its bytes lie, nodes first: `worker-1, registry`. */
export function placesOf({ status, spec }: Checkpoint): string {
  const copies = status?.copies ?? [];
  const nodes = copies.flatMap(({ kind, node }) => (kind === "Node" && node !== undefined ? [node] : []));
  const registry = copies.some(({ kind }) => kind === "Registry") ? ["registry"] : [];
  return [...nodes.toSorted(), ...registry].join(", ") || spec.nodeName;
}

export const frozen = ({ status }: Checkpoint): string | undefined =>
  status?.frozenMicroseconds === undefined ? undefined : duration(status.frozenMicroseconds);

export const bytes = ({ status }: Checkpoint): string | undefined =>
  status?.sizeBytes === undefined ? undefined : size(status.sizeBytes);

/** Of a Checkpoint that was just taken, and of lists of them. */
export const checkpointColumns: readonly Column<Checkpoint>[] = [
  { header: "CHECKPOINT", value: ({ metadata }) => metadata.name },
  { header: "CONTAINER", value: ({ spec }) => spec.containerName },
  { header: "POD", value: podOf, wide: true },
  { header: "STATE", value: stateOf, tone: toneOf },
  { header: "SIZE", value: bytes, align: "right" },
  { header: "FROZEN", value: frozen, align: "right" },
  { header: "LIES ON", value: placesOf },
  { header: "IMAGE", value: ({ status }) => status?.runtimeImage, wide: true },
  { header: "AGE", value: ({ spec }) => age(spec.checkpointTimestamp) },
];
