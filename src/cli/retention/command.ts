import { readFile } from "node:fs/promises";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { KcrError } from "../../api/errors.ts";
import { API_VERSION } from "../../api/group.ts";
import { checkpoints, clusterRetentions, retentions } from "../../api/kinds.ts";
import {
  type CheckpointRetention,
  type ClusterCheckpointRetention,
  clusterRetentionSpec,
  type RetentionRules,
  retentionSpec,
} from "../../api/retention.ts";
import { settings } from "../../api/settings.ts";
import { isForbidden } from "../../kube/errors.ts";
import { namespaces } from "../../kube/resources.ts";
import { bytesOf, decideRetention, type Removal } from "../../retention/decide.ts";
import { readPicture } from "../../retention/gather.ts";
import { rulesOf } from "../../retention/rules.ts";
import type { Connection } from "../cluster.ts";
import { UsageError } from "../errors.ts";
import { findInstalled, settingsOf } from "../install/installed.ts";
import { hint, type Io, print } from "../io.ts";
import { nameOfObject } from "../objects/kinds.ts";
import { type Format, show } from "../output/print.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import type { Column } from "../output/table.ts";

export interface PlanOptions {
  allNamespaces: boolean;
  /** A file with policies that are not in the cluster yet, or otherwise. */
  policy?: string;
  /** Also what stays although a policy says otherwise. */
  spared: boolean;
  output: Format;
}

/** One Checkpoint of the plan. */
interface Row {
  namespace: string;
  name: string;
  goes: boolean;
  why: string;
  policy: string;
  bytes: number;
}

/**
 * Shows which Checkpoints would go now, and why; nothing is removed by it. Policies of the file take the place of those
 * of their names, and dry runs count as if they were meant.
 *
 * Errors: UsageError for a file that holds anything but policies; KcrError FileUnreadable; those of the API.
 */
export async function showPlan(connection: Connection, io: Io, options: PlanOptions): Promise<void> {
  const { client } = connection;
  const given = options.policy === undefined ? [] : await readPolicies(options.policy);
  const names = options.allNamespaces
    ? (await client.listAll(namespaces, { signal: io.signal })).items.map(({ metadata }) => metadata.name)
    : [connection.namespace];
  const builtIn = await defaultsOf(connection, io);
  const rows: Row[] = [];
  for (const namespace of names) rows.push(...(await rowsOf(connection, io, namespace, given, builtIn)));
  const shown = options.spared ? rows : rows.filter(({ goes }) => goes);
  await show(io, options.output, {
    columns: columnsOf(options.allNamespaces, options.spared),
    rows: shown,
    data: { items: shown },
    name: ({ name }) => nameOfObject(checkpoints, { metadata: { name } }),
    none: `nothing would go ${options.allNamespaces ? "in any namespace" : `in namespace ${connection.namespace}`}`,
  });
  if (options.output !== "table" && options.output !== "wide") return;
  const goes = rows.filter((row) => row.goes);
  const stays = rows.length - goes.length;
  const bytes = goes.reduce((sum, row) => sum + row.bytes, 0);
  if (goes.length > 0) await print(io, "", `${goes.length} checkpoints would go, ${size(bytes)} of archives`);
  if (stays > 0 && !options.spared) {
    hint(io, `${stays} stay although a policy says otherwise: --spared shows them, and why`);
  }
}

async function rowsOf(
  { client }: Connection,
  io: Io,
  namespace: string,
  given: readonly Policy[],
  builtIn: RetentionRules,
): Promise<Row[]> {
  let isWhole = true;
  const picture = await readPicture(client, namespace, {
    now: new Date(),
    signal: io.signal,
    without: (error) => {
      if (!isForbidden(error)) throw error;
      isWhole = false;
    },
  });
  if (!isWhole) io.stderr.write("policies of the cluster may not be read here: they are not counted in\n");
  const with_ = <T extends Policy>(policies: readonly T[], kind: string): T[] => {
    const own = given.filter(
      (policy) => policy.kind === kind && (policy.metadata.namespace ?? namespace) === namespace,
    ) as T[];
    const taken = new Set(own.map(({ metadata }) => metadata.name));
    return [...policies.filter(({ metadata }) => !taken.has(metadata.name)), ...own];
  };
  const rules = rulesOf({
    ...picture,
    builtIn,
    clusterRetentions: with_(picture.clusterRetentions, clusterRetentions.kind),
    // In that namespace, wherever the file says.
    retentions: with_(picture.retentions, retentions.kind).map((policy) => ({
      ...policy,
      metadata: { ...policy.metadata, namespace },
    })),
  });
  const { removals, spared } = decideRetention({ ...picture, rules });
  const row = ({ checkpoint, why, policy }: Omit<Removal, "bytes" | "by">, goes: boolean): Row => ({
    namespace,
    name: checkpoint.metadata.name,
    goes,
    why,
    policy,
    bytes: bytesOf(checkpoint),
  });
  return [...removals.map((one) => row(one, true)), ...spared.map((one) => row(one, false))];
}

/** What the cluster's settings say, where they may be read; what they say by default otherwise. */
async function defaultsOf({ client }: Connection, io: Io): Promise<RetentionRules> {
  const fallback = () => settings.parse({ store: "node" }).retention.defaults;
  try {
    const installed = await findInstalled(client, io.signal);
    return (installed && settingsOf(installed))?.retention.defaults ?? fallback();
  } catch (error) {
    if (!isForbidden(error)) throw error;
    io.stderr.write("kcr's settings may not be read here: their defaults are taken to be kcr's own\n");
    return fallback();
  }
}

type Policy = CheckpointRetention | ClusterCheckpointRetention;

const metadata = z.object({ name: z.string().min(1), namespace: z.string().optional() });
const policy = z.discriminatedUnion("kind", [
  z.object({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal("CheckpointRetention"),
    metadata,
    spec: z.strictObject(retentionSpec.shape),
  }),
  z.object({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal("ClusterCheckpointRetention"),
    metadata,
    spec: z.strictObject(clusterRetentionSpec.shape),
  }),
]);

async function readPolicies(path: string): Promise<Policy[]> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new KcrError("FileUnreadable", `${path}: ${cause.message}`, { cause });
  });
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors.length > 0) throw new UsageError(`${path}: ${document.errors[0]?.message}`);
    const value: unknown = document.toJS();
    if (value === null) return [];
    const parsed = policy.safeParse(value);
    if (!parsed.success) throw new UsageError(`${path} holds no policy:\n${z.prettifyError(parsed.error)}`);
    return [parsed.data as Policy];
  });
}

const columnsOf = (withNamespace: boolean, withSpared: boolean): Column<Row>[] => [
  ...(withNamespace ? [{ header: "NAMESPACE", value: (row: Row) => row.namespace }] : []),
  { header: "CHECKPOINT", value: ({ name }) => safe(name) },
  ...(withSpared ? [{ header: "GOES", value: (row: Row) => (row.goes ? "yes" : "no") }] : []),
  { header: "FREES", value: ({ goes, bytes }) => (goes ? size(bytes) : "-"), align: "right" },
  { header: "WHY", value: ({ why }) => why },
  { header: "BY", value: (row) => row.policy },
];
