import { chart } from "../chart.ts";
import { count, type Figure, type Grid, megabytes, seconds } from "../report.ts";
import type { Measured } from "./measure.ts";

/** What is told of each size. */
const FIGURES: Record<string, (m: Measured) => Figure> = {
  "every workload has its schedule, after": (m) => seconds(m.protectMs),
  "a new leader's caches are whole, after": (m) => seconds(m.syncMs),
  "it has looked at every schedule, after": (m) => seconds(m.restartMs),
  "of that, a full round of decisions": (m) => seconds(m.roundMs),
  "resident memory at rest": (m) => megabytes(m.bytes.rest),
  "resident memory after a minute of load": (m) => megabytes(m.bytes.load),
  "resident memory after all were due at once": (m) => megabytes(m.bytes.herd),
  "most resident memory (VmHWM)": (m) => megabytes(m.bytes.most),
  "API requests a minute at rest": (m) => count(Math.round(m.perMinute.rest)),
  "API requests a minute, a tenth due in it": (m) => count(Math.round(m.perMinute.load)),
  "a schedule's moment to its request, p50": (m) => seconds(m.lagMs.p50),
  "a schedule's moment to its request, p99": (m) => seconds(m.lagMs.p99),
  "requests missed": (m) => count(m.missed),
  "requests doubled": (m) => count(m.doubled),
  "due at once": (m) => count(m.herd),
  "of those, the last has ended, after": (m) => seconds(m.herdMs),
  "most dumps at a time, in the cluster": (m) => count(m.mostAtOnce),
  "most dumps at a time, on a node": (m) => count(m.mostOnOneNode),
};

const deployments = ({ size }: Measured): string => `${size.toLocaleString("en")} Deployments`;

export function figuresOf(measured: readonly Measured[]): Record<string, Figure> {
  return Object.fromEntries(
    measured.flatMap((m) =>
      Object.entries(FIGURES).map(([name, of]) => [`${name}, ${deployments(m)}`, of(m)]),
    ),
  );
}

/** How each figure grows: a column for each size. */
export function growth(measured: readonly Measured[]): Grid {
  const cell = ({ value, unit }: Figure) => `${value} ${unit}`.trim();
  return {
    head: ["figure", ...measured.map(deployments)],
    body: Object.entries(FIGURES).map(([name, of]) => [name, ...measured.map((m) => cell(of(m)))]),
  };
}

/** The same as a picture. */
export function picture(measured: readonly Measured[]): string {
  const line = (name: string, of: (m: Measured) => number) => ({
    name,
    points: measured.map((m): [number, number] => [m.size, of(m)]),
  });
  return chart({
    title: "The operator by the number of annotated Deployments",
    x: "Deployments",
    lines: [
      line("most memory (MB)", (m) => m.bytes.most / 1e6),
      line("full round of decisions (ms)", (m) => m.roundMs),
      line("new leader in step (ms)", (m) => m.restartMs),
      line("API requests a minute at rest", (m) => m.perMinute.rest),
      line("API requests a minute under load", (m) => m.perMinute.load),
      line("moment to request, p99 (ms)", (m) => m.lagMs.p99),
    ],
  });
}
