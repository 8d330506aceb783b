import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  alerts,
  dashboard,
  expressions,
  familyOf,
  metricsNamed,
  OF_PROMETHEUS,
} from "../test/support/monitoring.ts";
import { parsePromql } from "../test/support/promql.ts";
import { servedMetrics } from "./metrics-reference.ts";

const root = join(import.meta.dirname, "..");
const served = new Map(servedMetrics().map((metric) => [metric.name, metric]));
/** What Prometheus and the PodMonitors of config/monitoring add to each series. */
const ADDED = ["job", "namespace", "pod", "container", "instance", "node"];
const OF_PROCESS = /^(process|nodejs)_/;
const all = await expressions();

describe("what is read of PromQL", () => {
  it("is metrics, and the labels that are matched, grouped and joined by", () => {
    expect(
      parsePromql(
        'sum by (a, b) (rate(x_total{c="}) (",d!~"e"}[5m])) / on (a) group_left (f) y > bool 0.2 and time() - z offset 5m',
      ),
    ).toEqual({
      selectors: [
        { metric: "x_total", labels: ["c", "d"] },
        { metric: "y", labels: [] },
        { metric: "z", labels: [] },
      ],
      groupings: ["a", "b", "a", "f"],
    });
  });
  it.each(["sum(x", "sum(x))", 'x{a="b"', "x[5 minutes]", "x[five]", "sum by (a x", "x ? y", 'x{a="b}'])(
    "nothing of %s",
    (expression) => expect(() => parsePromql(expression)).toThrow(),
  );
});

describe.each(all)("$where: $expr", ({ expr }) => {
  const { selectors, groupings } = parsePromql(expr);
  it("names metrics that there are, by labels that they have", () => {
    expect(selectors.length).toBeGreaterThan(0);
    const labels = new Set(["le", ...ADDED]);
    for (const { metric, labels: matched } of selectors) {
      const family = served.get(familyOf(metric));
      const known = [...(family?.labels ?? []), ...ADDED];
      if (!OF_PROMETHEUS.has(metric) && !OF_PROCESS.test(metric)) expect(family, metric).toBeDefined();
      expect(matched.filter((label) => !known.includes(label))).toEqual([]);
      if (metric !== familyOf(metric)) expect(family?.type, metric).toBe("histogram");
      else expect(family?.type, metric).not.toBe("histogram");
      for (const label of known) labels.add(label);
    }
    expect(groupings.filter((label) => !labels.has(label))).toEqual([]);
  });
  it("asks for the increase of counters and buckets, and of nothing else", () => {
    for (const { metric } of selectors) {
      const counts = /_(total|bucket|sum|count)$/.test(metric);
      const grows = new RegExp(`(rate|increase)\\(${metric}(\\{[^}]*\\})?\\[`).test(expr);
      expect(grows, metric).toBe(counts);
    }
  });
});

it("each alert says what is wrong, how bad it is, and leads to what to do", async () => {
  const page = readFileSync(join(root, "docs/guides/alerts.md"), "utf8");
  const sections = [...page.matchAll(/^## (\w+)\n\n([\s\S]*?)(?=\n## |$(?![\s\S]))/gm)];
  const rules = await alerts();
  for (const { alert, labels, annotations } of rules) {
    expect(["warning", "critical"]).toContain(labels.severity);
    expect(annotations.summary, alert).toMatch(/\w/);
    expect(annotations.runbook_url).toBe(`docs/guides/alerts.md#${alert.toLowerCase()}`);
    expect(sections.find(([, title]) => title === alert)?.[2], alert).toMatch(/\S{3}/);
  }
  expect(sections.map(([, title]) => title).sort()).toEqual(rules.map(({ alert }) => alert).sort());
});

it("the dashboard's panels lie side by side, each with something to show", async () => {
  const { panels } = await dashboard();
  const cells = new Set<string>();
  for (const { title, type, gridPos, targets = [] } of panels) {
    expect(targets.length > 0, title).toBe(type !== "row");
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(x).toBeLessThan(24);
        expect(cells, `${title} at ${x}, ${y}`).not.toContain(`${x}/${y}`);
        cells.add(`${x}/${y}`);
      }
    }
  }
});

it("the dashboard shows every metric of kcr's own", async () => {
  const named = await metricsNamed();
  const own = [...served.keys()].filter((name) => name.startsWith("kcr_"));
  expect(own.filter((name) => !named.includes(name))).toEqual([]);
});
