import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { parsePromql } from "./promql.ts";

const directory = join(import.meta.dirname, "../../config/monitoring");

export interface Alert {
  alert: string;
  expr: string;
  for?: string;
  labels: { severity: string };
  annotations: { summary: string; runbook_url: string };
}

interface Panel {
  title: string;
  type: string;
  gridPos: { h: number; w: number; x: number; y: number };
  targets?: { expr: string; legendFormat?: string }[];
}

/** The alerts that kcr ships. */
export async function alerts(): Promise<Alert[]> {
  const rule = parse(await readFile(join(directory, "rules.yaml"), "utf8")) as {
    spec: { groups: { name: string; rules: Alert[] }[] };
  };
  return rule.spec.groups.flatMap(({ rules }) => rules);
}

/** The panels of the dashboard that kcr ships, and what its variables ask for. */
export async function dashboard(): Promise<{ panels: Panel[]; variables: string[] }> {
  const board = JSON.parse(await readFile(join(directory, "dashboard.json"), "utf8")) as {
    panels: Panel[];
    templating: { list: { type: string; query: string }[] };
  };
  const asked = board.templating.list.filter(({ type }) => type === "query");
  return {
    panels: board.panels,
    variables: asked.map(({ query }) => /^label_values\((\w+), \w+\)$/.exec(query)?.[1] ?? query),
  };
}

/** Every expression of alerts and dashboard, with where it stands. */
export async function expressions(): Promise<{ where: string; expr: string }[]> {
  const { panels, variables } = await dashboard();
  return [
    ...(await alerts()).map(({ alert, expr }) => ({ where: alert, expr })),
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ where: title, expr }))),
    ...variables.map((expr) => ({ where: "variables", expr })),
  ];
}

/** What Prometheus itself adds to what it scrapes. */
export const OF_PROMETHEUS: ReadonlySet<string> = new Set(["up"]);

/** The name under which a registry has what a selector asks for. */
export const familyOf = (metric: string): string => metric.replace(/_(bucket|sum|count)$/, "");

/** The metrics that alerts and dashboard name, as registries have them. */
export async function metricsNamed(): Promise<string[]> {
  const named = (await expressions()).flatMap(({ expr }) => parsePromql(expr).selectors);
  const families = named.map(({ metric }) => familyOf(metric)).filter((name) => !OF_PROMETHEUS.has(name));
  return [...new Set(families)].sort();
}
