import { expect, test } from "vitest";
import type { CheckpointStatus } from "../../api/checkpoint.ts";
import { sketch } from "../../retention/testing.ts";
import type { Grouping } from "./groupings.ts";
import { usageOf } from "./usage.ts";

const node = (name: string) => ({ kind: "Node", node: name }) as const;
const image = { kind: "Registry", image: "x" } as const;
const one = (name: string, bytes: number, copies: CheckpointStatus["copies"], more: object = {}) =>
  sketch(name, {
    bytes,
    ...more,
    status: { copies, runtimeImage: "r.example/kcr/shop/checkpoint-web-app@sha256:1" },
  });
const all = [
  one("a", 100, [node("worker-1"), node("worker-2"), image]),
  one("b", 10, [node("worker-1")]),
  one("c", 1, []),
  one("d", 1000, [image], { workload: "db" }),
];
all[1]!.metadata.deletionTimestamp = "2026-01-01T00:00:00Z";

test.each<[Grouping, object[]]>([
  [
    "workload",
    [
      { of: "shop/db", checkpoints: 1, bytes: 1000, onNodes: 0, inRegistry: 1000, going: 0 },
      { of: "shop/web", checkpoints: 3, bytes: 111, onNodes: 211, inRegistry: 100, going: 1 },
    ],
  ],
  ["namespace", [{ of: "shop", checkpoints: 4, bytes: 1111, onNodes: 211, inRegistry: 1100, going: 1 }]],
  [
    "node",
    [
      { of: "worker-1", checkpoints: 3, bytes: 111, onNodes: 111, inRegistry: 0, going: 1 },
      { of: "worker-2", checkpoints: 1, bytes: 100, onNodes: 100, inRegistry: 0, going: 0 },
    ],
  ],
  [
    "registry",
    [
      {
        of: "r.example/kcr/shop/checkpoint-web-app",
        checkpoints: 2,
        bytes: 1100,
        onNodes: 0,
        inRegistry: 1100,
        going: 0,
      },
    ],
  ],
])("by %s every copy counts where it lies", (by, expected) => {
  expect(usageOf(all, by)).toEqual(expected);
});
