import { describe, expect, it } from "vitest";
import type { Node, Pod } from "../../kube/resources.ts";
import type { Note } from "../../store/notes.ts";
import { decideSelftest, fingerprint, type Observed, offersHandler } from "./decide.ts";

const begun = "2026-01-01T12:00:00Z";
const soon = new Date("2026-01-01T12:00:05Z");
const late = new Date("2026-01-01T12:03:01Z");
const running = { restartCount: 0, containerID: "containerd://c0", state: { running: {} } };
const said = (message: string) => ({ restartCount: 1, state: { terminated: { exitCode: 0, message } } });

function podWith(container: object | undefined, status: object = {}, metadata: object = {}): Pod {
  return {
    metadata: {
      name: "kcr-selftest-x",
      creationTimestamp: begun,
      annotations: { "kcr.io/tested": "t1" },
      ...metadata,
    },
    status: {
      phase: "Running",
      containerStatuses: container === undefined ? [] : [{ name: "selftest", ...container }],
      ...status,
    },
  } as unknown as Pod;
}
const observed = (pod: Pod | undefined, more: Partial<Observed> = {}): Observed => ({
  tested: "t1",
  pod,
  planned: false,
  told: false,
  note: undefined,
  timeoutMs: 180_000,
  ...more,
});
const refused = { type: "refused", reason: "CopyCorrupt", message: "m" } as Note;

describe("a self-test", () => {
  it.each<[string, Observed, Date, object]>([
    ["begins with its pod", observed(undefined), soon, { type: "create" }],
    [
      "makes way for one of another version",
      observed(podWith(running, {}, { annotations: { "kcr.io/tested": "t0" } })),
      soon,
      { type: "remove" },
    ],
    [
      "waits until its pod is gone",
      observed(podWith(running, {}, { deletionTimestamp: begun })),
      soon,
      { type: "wait" },
    ],
    [
      "waits until its container runs",
      observed(podWith(undefined, { phase: "Pending" })),
      soon,
      { type: "wait" },
    ],
    ["is checkpointed", observed(podWith(running)), soon, { type: "checkpoint", containerID: "c0" }],
    [
      "crashes once it is planned what follows",
      observed(podWith(running), { planned: true }),
      soon,
      { type: "crash" },
    ],
    [
      "waits for what the handler does",
      observed(podWith({ restartCount: 0, state: { terminated: { exitCode: 3 } } }), {
        planned: true,
        told: true,
      }),
      soon,
      { type: "wait" },
    ],
    [
      "has passed when its program remembers",
      observed(podWith(said("restored after 41 ticks, began 1\n"), { phase: "Succeeded" })),
      late,
      { type: "passed", message: "restored after 41 ticks, began 1" },
    ],
    [
      "has not when it ended otherwise",
      observed(podWith(said(""), { phase: "Succeeded" })),
      soon,
      { type: "failed", reason: "NotRestored" },
    ],
    [
      "has not when its pod failed",
      observed(podWith(undefined, { phase: "Failed", reason: "OutOfmemory", message: "no room" })),
      soon,
      { type: "failed", reason: "OutOfmemory", message: "its pod failed: no room" },
    ],
    [
      "fails by what the handler notes",
      observed(podWith(running), { planned: true, told: true, note: refused }),
      soon,
      { type: "failed", reason: "CopyCorrupt", message: "m" },
    ],
    [
      "fails when it starts afresh again and again",
      observed(podWith({ ...running, restartCount: 2 }), { planned: true, told: true }),
      soon,
      { type: "failed", reason: "NotRestored" },
    ],
    [
      "fails when it lasts too long, and says how far it came",
      observed(podWith({ restartCount: 0, state: { waiting: { reason: "ErrImagePull", message: "gone" } } })),
      late,
      {
        type: "failed",
        reason: "DeadlineExceeded",
        message: "after 180 s its container waited: ErrImagePull: gone",
      },
    ],
  ])("%s", (_, given, now, step) => {
    expect(decideSelftest(given, now)).toMatchObject(step);
  });

  it("is made again for another runtime, kernel, kubelet or image, and after a reboot", () => {
    const info = { containerRuntimeVersion: "c", kernelVersion: "k", kubeletVersion: "v", bootID: "b" };
    const node = (more: object) => ({ status: { nodeInfo: { ...info, ...more } } }) as unknown as Node;
    const agent = (imageID: string) => ({ status: { containerStatuses: [{ imageID }] } }) as unknown as Pod;
    const all = [
      fingerprint(node({}), agent("i")),
      ...Object.keys(info).map((field) => fingerprint(node({ [field]: "other" }), agent("i"))),
      fingerprint(node({}), agent("other")),
    ];
    expect(new Set(all).size).toBe(6);
    expect(fingerprint(node({}), agent("i"))).toBe(all[0]);
  });

  it("needs both handlers", () => {
    const offering = (...names: string[]) =>
      offersHandler({ status: { runtimeHandlers: names.map((name) => ({ name })) } } as unknown as Node);
    expect([offering("", "kcr", "kcr-selftest"), offering("", "kcr"), offering("")]).toEqual([
      true,
      false,
      false,
    ]);
    expect(offersHandler({ status: {} } as unknown as Node)).toBe(false);
  });
});
