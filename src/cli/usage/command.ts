import { checkpoints } from "../../api/kinds.ts";
import { PRESSURE_ANNOTATION } from "../../api/labels.ts";
import { isForbidden } from "../../kube/errors.ts";
import { nodes } from "../../kube/resources.ts";
import type { Connection } from "../cluster.ts";
import { type Io, print } from "../io.ts";
import { type Format, show } from "../output/print.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import type { Column } from "../output/table.ts";
import type { Grouping } from "./groupings.ts";
import { type Usage, usageOf } from "./usage.ts";

export interface UsageOptions {
  allNamespaces: boolean;
  by: Grouping;
  output: Format;
}

/** Shows how many bytes Checkpoints take, and where. Errors: those of the API. */
export async function showUsage(connection: Connection, io: Io, options: UsageOptions): Promise<void> {
  const { client } = connection;
  const { allNamespaces, by, output } = options;
  const namespace = allNamespaces ? undefined : connection.namespace;
  const { items } = await client.listAll(checkpoints, { namespace, signal: io.signal });
  const rows = usageOf(items, by);
  const short = by === "node" ? await nodesShort(connection, io) : new Map<string, string>();
  await show(io, output, {
    columns: columnsOf(by, short),
    rows,
    data: { items: rows },
    name: ({ of }) => of,
    none: `no checkpoints ${allNamespaces ? "in any namespace" : `in namespace ${connection.namespace}`}`,
  });
  if (output !== "table" && output !== "wide") return;
  for (const [node, why] of short) await print(io, `${safe(node)}: ${safe(why)}`);
  if (rows.some(({ inRegistry }) => inRegistry > 0)) {
    await print(
      io,
      "",
      "Of images that were deleted the registry keeps the bytes until its own garbage collection has run:",
      "they are not counted here, and are on its disk all the same.",
    );
  }
}

/** Nodes that are short of disk, and what they say of it. */
async function nodesShort({ client }: Connection, io: Io): Promise<Map<string, string>> {
  try {
    const { items } = await client.listAll(nodes, { signal: io.signal });
    return new Map(
      items.flatMap(({ metadata }) => {
        const why = metadata.annotations?.[PRESSURE_ANNOTATION];
        return why === undefined ? [] : [[metadata.name, why]];
      }),
    );
  } catch (error) {
    if (isForbidden(error)) return new Map();
    throw error;
  }
}

const columnsOf = (by: Grouping, short: ReadonlyMap<string, string>): Column<Usage>[] => [
  { header: by.toUpperCase(), value: ({ of }) => safe(of) },
  { header: "CHECKPOINTS", value: (row) => row.checkpoints, align: "right" },
  ...(by === "node" || by === "registry"
    ? []
    : [{ header: "BYTES", value: (row: Usage) => size(row.bytes), align: "right" as const }]),
  ...(by === "registry"
    ? []
    : [{ header: "ON NODES", value: (row: Usage) => size(row.onNodes), align: "right" as const }]),
  ...(by === "node"
    ? [{ header: "DISK", value: (row: Usage) => (short.has(row.of) ? "short" : "-") }]
    : [{ header: "IN REGISTRY", value: (row: Usage) => size(row.inRegistry), align: "right" as const }]),
  { header: "GOING", value: (row) => row.going, align: "right", wide: true },
];
