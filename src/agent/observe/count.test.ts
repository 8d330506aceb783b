import { describe, expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../../api/checkpoint.ts";
import type { CheckpointRequest } from "../../api/request.ts";
import { createMetrics } from "../../kube/prometheus.ts";
import type { Note } from "../../store/notes.ts";
import { agentMetricDefinitions } from "../metrics.ts";
import { countCheckpoint, countDump, countNote } from "./count.ts";

/** What was counted or observed, without buckets and what is still nothing. */
async function measured(measure: (metrics: ReturnType<typeof create>["metrics"]) => void): Promise<string[]> {
  const { registry, metrics } = create();
  measure(metrics);
  const lines = (await registry.metrics()).split("\n");
  return lines.filter((line) => /^kcr_\S+(_sum|_total)\b/.test(line) && !line.endsWith(" 0"));
}
const create = () => createMetrics(agentMetricDefinitions);

const time = (second: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
const checkpoint = (status: CheckpointStatus): Checkpoint =>
  ({ metadata: { name: "c" }, spec: { checkpointTimestamp: time(0) }, status }) as Checkpoint;
const isTrue = (type: string, second: number) =>
  ({ type, status: "True", reason: "R", message: "", lastTransitionTime: time(second) }) as const;

describe("of a checkpoint each step is measured when it is over, once", () => {
  const created: CheckpointStatus = {
    phase: "Created",
    engine: "runc",
    lastTransitionTime: time(2),
    frozenMicroseconds: 250_000,
    pausedMicroseconds: 500_000,
    sizeBytes: 1000,
  };
  const copied = { ...created, conditions: [isTrue("LocalCopy", 3), isTrue("Restorable", 3)] };
  const pushing: CheckpointStatus = { ...copied, phase: "Processing", lastTransitionTime: time(4) };
  const built: CheckpointStatus = { ...pushing, phase: "ImageBuilt", lastTransitionTime: time(14) };
  const steps = [{}, created, copied, pushing, built].map(checkpoint);

  it("dump, pause, size, copy, push, and all together", async () => {
    const seen = await measured((metrics) => {
      const request = (phase: "InProgress" | "Completed") =>
        ({
          metadata: {},
          status: { phase, startTime: time(0), completionTime: time(2) },
        }) as CheckpointRequest;
      const [object, previous] = [request("Completed"), request("InProgress")];
      countDump(metrics, { type: "apply", object, previous }, () => "runc");
      countDump(metrics, { type: "apply", object, previous: object }, () => "runc");
      countDump(metrics, { type: "apply", object }, () => "runc");
      for (const [n, object] of steps.entries()) {
        const previous = steps[n - 1];
        countCheckpoint(metrics, { type: "apply", object, ...(previous && { previous }) }, undefined);
        countCheckpoint(metrics, { type: "apply", object, previous: object }, undefined);
        countCheckpoint(metrics, { type: "apply", object }, undefined);
      }
    });
    expect(seen).toEqual([
      'kcr_dump_seconds_sum{engine="runc"} 2',
      'kcr_checkpoint_frozen_seconds_sum{engine="runc"} 0.25',
      'kcr_checkpoint_paused_seconds_sum{engine="runc"} 0.5',
      'kcr_checkpoint_size_bytes_sum{engine="runc"} 1000',
      "kcr_copy_seconds_sum 1",
      "kcr_push_seconds_sum 10",
      'kcr_checkpoint_ready_seconds_sum{engine="runc"} 3',
    ]);
  });

  it("one whose copy was made anew is measured no second time", async () => {
    const gone = (type: string) => ({ ...isTrue(type, 5), status: "False" as const });
    const lost = { ...built, conditions: [gone("LocalCopy"), gone("Restorable")] };
    const seen = await measured((metrics) =>
      countCheckpoint(
        metrics,
        { type: "apply", object: checkpoint(copied), previous: checkpoint(lost) },
        undefined,
      ),
    );
    expect(seen).toEqual([]);
  });
});

describe("what the handler did", () => {
  const head = { failed: [] } as unknown as Note;
  const failed = [{ code: "CopyCorrupt" }, { code: "made up" }] as Note["failed"];
  it.each<[string, Partial<Note>, string[]]>([
    [
      "a restore, with what was tried before",
      { type: "restored", ageMs: 60_000, tookMs: 1500, failed },
      [
        "kcr_restore_seconds_sum 1.5",
        'kcr_restores_total{strategy="Runtime",result="restored"} 1',
        'kcr_restore_failures_total{strategy="Runtime",reason="CopyCorrupt"} 1',
        'kcr_restore_failures_total{strategy="Runtime",reason="Other"} 1',
        'kcr_restored_age_seconds_sum{strategy="Runtime"} 60',
      ],
    ],
    [
      "lost state",
      { type: "fresh", reason: "NoCheckpoint", lost: true },
      ['kcr_restores_total{strategy="Runtime",result="lost"} 1'],
    ],
    [
      "a fresh start after a clean end",
      { type: "fresh", reason: "CleanExit", lost: false },
      ['kcr_restores_total{strategy="Runtime",result="fresh"} 1'],
    ],
    ["a container that nobody wanted restored", { type: "fresh", reason: "NotWanted", lost: false }, []],
    ["a refusal", { type: "refused" }, ['kcr_restores_total{strategy="Runtime",result="refused"} 1']],
  ])("%s", async (_, note, lines) => {
    expect(await measured((metrics) => countNote(metrics, { ...head, ...note } as Note))).toEqual(lines);
  });
});
