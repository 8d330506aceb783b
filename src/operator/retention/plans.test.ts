import { expect, test } from "vitest";
import type { RetentionSpec } from "../../api/retention.ts";
import type { Node } from "../../kube/resources.ts";
import type { Picture } from "../../retention/gather.ts";
import { NOW, sketch, sketchPod } from "../../retention/testing.ts";
import { isClockDoubtful, plansOf } from "./plans.ts";

const policy = (spec: RetentionSpec) => ({ metadata: { name: "p", namespace: "shop" }, spec });
const twelve = Array.from({ length: 12 }, (_, age) => sketch(`a${age}`, { age }));
const goes = (spec: RetentionSpec): string[][] => {
  const picture = {
    namespaceLabels: {},
    clusterRetentions: [],
    retentions: [policy(spec)],
    schedules: [],
    requests: [],
    checkpoints: twelve,
    pods: [sketchPod()],
    restores: [],
    downloads: [],
    now: NOW,
  } as Picture;
  const { meant, shown } = plansOf(picture, { builtIn: { keepLast: 9 }, pressed: new Set() });
  return [meant, shown].map(({ removals }) =>
    removals.map(({ checkpoint }) => checkpoint.metadata.name).sort(),
  );
};

test("a policy that becomes a dry run lets nothing go that it had kept", () => {
  expect(goes({ keepLast: 11 })).toEqual([["a11"], ["a11"]]);
  expect(goes({ keepLast: 11, dryRun: true })).toEqual([["a11"], ["a11"]]);
  expect(goes({ maxCount: 50, dryRun: true })).toEqual([[], []]);
});

test("a policy that is tried out removes nothing of its own, and what goes without it goes", () => {
  const byDefault = ["a10", "a11", "a9"];
  expect(goes({ keepLast: 6, dryRun: true })).toEqual([byDefault, [...byDefault, "a6", "a7", "a8"].sort()]);
});

test("a clock that is far from those of all nodes is not gone by", () => {
  const node = (hours: number) =>
    ({
      metadata: { name: `n${hours}` },
      status: {
        conditions: [
          {
            type: "Ready",
            status: "True",
            lastHeartbeatTime: new Date(NOW.getTime() - hours * 3_600_000).toISOString(),
          },
        ],
      },
    }) as unknown as Node;
  expect(isClockDoubtful([], NOW)).toBe(false);
  expect(isClockDoubtful([{ metadata: { name: "new" } } as Node], NOW)).toBe(false);
  expect(isClockDoubtful([node(8760), node(0.1)], NOW)).toBe(false);
  expect(isClockDoubtful([node(8760), node(8761)], NOW)).toBe(true);
});
