import { describe, expect, it } from "vitest";
import type { CheckpointRestore } from "../../api/restore.ts";
import type { Failure, Note } from "../../store/notes.ts";
import { answerTo, messagesOf, verdictOf } from "./decide.ts";

const head = {
  version: 1,
  podUID: "pod-1",
  namespace: "shop",
  pod: "cache-0",
  container: "app",
  containerID: "c1",
  time: "2026-01-01T12:00:00Z",
  cause: "exit code 137",
};
const failure: Failure = {
  checkpoint: "b",
  checkpointUID: "uid-b",
  code: "CopyCorrupt",
  message: "pages-1.img is cut short",
  poisoned: false,
  corrupt: true,
};
const restored: Note = {
  ...head,
  type: "restored",
  checkpoint: "a",
  checkpointUID: "uid-a",
  ageMs: 41_800,
  tookMs: 130,
  failed: [],
};
const fresh = (reason: string, lost: boolean): Note => ({
  ...head,
  type: "fresh",
  reason,
  message: "why it is so",
  lost,
  failed: [],
});
const wish = { spec: { checkpointName: "a" } } as CheckpointRestore;

describe("what people are told of a create", () => {
  it("says which Checkpoint, how old its state is, and why the last run ended", () => {
    expect(messagesOf(restored)).toEqual([
      {
        type: "Normal",
        reason: "Restored",
        text: "container app (exit code 137) runs again from Checkpoint a: its state is 42 s old",
        onWorkload: true,
      },
    ]);
    expect(verdictOf(restored)).toMatchObject({ status: "True", reason: "Restored" });
  });

  it("says each candidate that failed, and what to do", () => {
    const [first, second] = messagesOf({ ...restored, failed: [failure] });
    expect(first).toMatchObject({ type: "Warning", reason: "RestoreFailed" });
    expect(first?.text).toContain(
      "Checkpoint b: CopyCorrupt: pages-1.img is cut short. Take a new checkpoint",
    );
    expect(second).toMatchObject({ reason: "Restored" });
  });

  it.each<[string, Note, object, string | undefined]>([
    [
      "state was lost",
      fresh("SpecChanged", true),
      { type: "Warning", reason: "StartedFresh", onWorkload: true },
      "False",
    ],
    [
      "a clean end",
      fresh("CleanExit", false),
      { type: "Normal", reason: "StartedFresh", onWorkload: false },
      "False",
    ],
    [
      "a container that is kept from starting",
      { ...head, type: "refused", reason: "CopyCorrupt", message: "m", failed: [] },
      { type: "Warning", reason: "RestoreRefused", onWorkload: true },
      "False",
    ],
  ])("%s", (_, note, message, status) => {
    expect(messagesOf(note)).toMatchObject([message]);
    expect(verdictOf(note)?.status).toBe(status);
  });

  it("where nobody wanted a restore there is nothing to tell", () => {
    expect(messagesOf(fresh("NotWanted", false))).toEqual([]);
    expect(verdictOf(fresh("NotWanted", false))).toBeUndefined();
  });
});

describe("the answer to a person's wish", () => {
  it("is True when that very Checkpoint runs", () => {
    expect(answerTo(wish, { ...restored, armed: "wish" })).toMatchObject({
      status: "True",
      reason: "Restored",
    });
  });

  it("is False, with the reason, when another one had to be taken", () => {
    const asked = { ...failure, checkpoint: "a" };
    const note: Note = { ...restored, checkpoint: "older", failed: [asked] };
    expect(answerTo(wish, note)).toMatchObject({
      status: "False",
      reason: "CopyCorrupt",
      message: expect.stringContaining("runs again from Checkpoint older"),
    });
  });

  it("is False when the container started afresh", () => {
    expect(answerTo(wish, fresh("SpecChanged", true))).toMatchObject({
      status: "False",
      reason: "SpecChanged",
    });
  });
});
