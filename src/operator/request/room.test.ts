import { describe, expect, it } from "vitest";
import type { CheckpointRequest } from "../../api/request.ts";
import { Room } from "./room.ts";

const request = (uid: string, nodeName?: string): CheckpointRequest => ({
  metadata: { name: uid, uid },
  spec: { podReference: { name: "web" } },
  status: { nodeName },
});

describe("the cluster's limit of dumps", () => {
  it("counts requests that are with an agent, and those just accepted that do not look so yet", () => {
    const room = new Room(2);
    const waiting = request("b");
    expect(room.has([request("a", "worker"), waiting])).toBe(true);
    room.accepted(waiting);
    expect(room.has([request("a", "worker"), waiting])).toBe(false);
    expect(room.has([request("a", "worker"), request("b", "worker")])).toBe(false);
    expect(room.has([request("b", "worker")])).toBe(true);
  });
  it("forgets a request that is gone", () => {
    const room = new Room(1);
    room.accepted(request("a"));
    expect(room.has([])).toBe(true);
  });
});
