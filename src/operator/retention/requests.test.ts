import { expect, test } from "vitest";
import type { CheckpointRequest } from "../../api/request.ts";
import { sketch } from "../../retention/testing.ts";
import { finishedRequests } from "./requests.ts";

const now = new Date("2026-03-02T12:00:00Z");
const request = (
  name: string,
  hours: number,
  more: { schedule?: string; ttl?: string; phase?: string; checkpoint?: string } = {},
) =>
  ({
    metadata: { name, uid: `uid-${name}` },
    spec: {
      podReference: { name: "web-0" },
      ...(more.schedule === undefined ? {} : { checkpointScheduleRef: { name: more.schedule } }),
      ...(more.ttl === undefined ? {} : { ttl: more.ttl }),
    },
    status: {
      phase: more.phase ?? "Failed",
      completionTime: new Date(now.getTime() - hours * 3_600_000).toISOString(),
      ...(more.checkpoint === undefined ? {} : { checkpoint: { name: more.checkpoint } }),
    },
  }) as CheckpointRequest;
const gone = (...all: CheckpointRequest[]) => {
  const owned = sketch("owned");
  owned.metadata.ownerReferences = [{ uid: "uid-owner" } as never];
  return finishedRequests(all, [owned, sketch("named")], now).map(({ metadata }) => metadata.name);
};

test("of a schedule all but the newest three without a Checkpoint go", () => {
  const failed = [3, 4, 5, 6, 7].map((hours) => request(`r${hours}`, hours, { schedule: "web" }));
  expect(gone(...failed, request("other", 9, { schedule: "db" }))).toEqual(["r6", "r7"]);
});

test("of people they go after a week, or when they say", () => {
  expect(gone(request("new", 24), request("old", 8 * 24))).toEqual(["old"]);
  expect(gone(request("short", 24, { ttl: "12h" }), request("long", 8 * 24, { ttl: "720h" }))).toEqual([
    "short",
  ]);
});

test("never while there is a Checkpoint that they own or name, for it would go with them", () => {
  expect(
    gone(request("owner", 999, { phase: "Completed" }), request("x", 999, { checkpoint: "named" })),
  ).toEqual([]);
});

test("never before they have ended, nor while a late dump may still come", () => {
  expect(gone(request("runs", 999, { phase: "InProgress" }), request("late", 1.5, { ttl: "1h" }))).toEqual(
    [],
  );
});
