import { expect, it } from "vitest";
import type { Checkpoint, CheckpointStatus } from "../src/api/checkpoint.ts";
import type { CheckpointRequest, RequestStatus } from "../src/api/request.ts";
import { Teller, tellCheckpoint, tellRequest } from "./timeline.ts";

const time = new Date("2026-01-02T03:04:05");
const request = (status?: RequestStatus) =>
  tellRequest({ metadata: { name: "r" }, status } as CheckpointRequest);
const checkpoint = (status?: CheckpointStatus) =>
  tellCheckpoint({ metadata: { name: "c" }, spec: { nodeName: "worker-1" }, status } as Checkpoint);

it("an object is named once, and every phase is told once", () => {
  const teller = new Teller();
  expect(teller.lines("r", request(), time)).toEqual([]);
  const pending = request({ phase: "Pending", nodeName: "worker-1" });
  expect(teller.lines("r", pending, time)).toEqual([
    "03:04:05  request     r",
    "03:04:05  request     Pending     for the agent of worker-1",
  ]);
  expect(teller.lines("r", pending, time)).toEqual([]);
  const failed = request({ phase: "Failed", reason: "CheckpointFailed", message: "no room" });
  expect(teller.lines("r", failed, time)).toEqual([
    "03:04:05  request     Failed      CheckpointFailed: no room",
  ]);
});

it("a Checkpoint is not the request of its name", () => {
  const teller = new Teller();
  teller.lines("x", request({ phase: "Pending" }), time);
  const created = checkpoint({ phase: "Created", sizeBytes: 17_549_312, frozenMicroseconds: 115_256 });
  expect(teller.lines("x", created, time)).toEqual([
    "03:04:05  checkpoint  x",
    "03:04:05  checkpoint  Created     17.5 MB; the container was frozen for 115 ms",
  ]);
});

it("conditions are told when they are there, and once", () => {
  const teller = new Teller();
  const isSo = (type: string) =>
    ({ type, status: "True", reason: "", message: "", lastTransitionTime: "" }) as const;
  const conditions = [isSo("LocalCopy"), isSo("Restorable")];
  teller.lines("c", checkpoint({ phase: "Processing" }), time);
  expect(teller.lines("c", checkpoint({ phase: "Processing", conditions }), time)).toEqual([
    "03:04:05  checkpoint  LocalCopy   unpacked on worker-1, verified",
    "03:04:05  checkpoint  Restorable  a crash goes back to it",
  ]);
  const built = checkpoint({ phase: "ImageBuilt", conditions });
  expect(teller.lines("c", built, time)).toEqual([
    "03:04:05  checkpoint  ImageBuilt  the registry has it; verified, by digest",
  ]);
  expect(teller.lines("c", built, time)).toEqual([]);
});

it("an image that is no good is not called restorable", () => {
  expect(checkpoint({ phase: "ImageBuilt" }).facts.map(([fact]) => fact)).toEqual(["ImageBuilt"]);
});
