import { describe, expect, it } from "vitest";
import { RECORD_ANNOTATION } from "./labels.ts";
import { laterRecord, RECORD_VERSION, type Records, readRecords, recordsText } from "./records.ts";

const podWith = (records: string) => ({
  metadata: { name: "web", uid: "pod-1", annotations: { [RECORD_ANNOTATION]: records } },
});
const own = { podUID: "pod-1", originalImage: "i", run: 1, containerID: "c", crashes: 0 };
const records: Records = { app: own, version: { ...own, parent: "a" } };

describe("the records on a pod", () => {
  it("bear their protocol's number, each, and are read without it", () => {
    const text = recordsText(records);
    const bare = Object.values(JSON.parse(text) as Record<string, { version: number }>);
    expect(bare.map(({ version }) => version)).toEqual([RECORD_VERSION, RECORD_VERSION]);
    expect(readRecords(podWith(text))).toEqual(records);
    expect(readRecords(podWith(JSON.stringify(records)))).toEqual(records);
  });

  it("of a later operator's are told, unless they are another pod's", () => {
    const later = (of: object) =>
      laterRecord(podWith(JSON.stringify({ app: own, side: { version: 99, ...of } })));
    expect(later({ podUID: "pod-1" })).toMatchObject({
      code: "ProtocolUnknown",
      message:
        "the record of container side of pod web is of protocol 99, and no later one than 1 is known here",
    });
    expect(later({})).toMatchObject({ code: "ProtocolUnknown" });
    expect(later({ podUID: "pod-0" })).toBeUndefined();
  });

  it.each([
    recordsText(records),
    "{",
    "null",
    "7",
    '"text"',
    "[]",
    '{"app":null}',
    '{"app":{"version":"2"}}',
  ])("%s is of no later operator's", (text) => {
    expect(laterRecord(podWith(text))).toBeUndefined();
  });

  it("of a pod without any are of nobody's", () => {
    expect(laterRecord({ metadata: { name: "web" } })).toBeUndefined();
  });
});
