import { expect, it } from "vitest";
import { isWhole, type Result, type Seen, summary } from "./summary.ts";

const result: Result = {
  checkpoint: {
    name: "redis-demo-1",
    phase: "ImageBuilt",
    image: "registry/x@sha256:abc",
    digest: `sha256:${"0123456789abcdef".repeat(4)}`,
    bytes: 17_549_312,
    frozenMs: 115.4,
  },
  keysBefore: 100_000,
  keysAfter: 100_000,
  restarts: 2,
  killToServingMs: 2_516,
  emptyWindowMs: 950,
  strategy: "image",
};
const seen: Seen = {
  pod: "redis-1",
  node: "worker-1",
  sameImage: false,
  compared: 1_000,
  differing: [],
  spans: [
    { stage: "down", fromMs: 20, toMs: 800 },
    { stage: "empty", fromMs: 880, toMs: 1_800 },
    { stage: "down", fromMs: 1_830, toMs: 2_500 },
    { stage: "full", fromMs: 2_516, toMs: 2_516 },
  ],
};

it("the summary says what came back, from what, and how long it took", () => {
  expect(summary(result, seen).join("\n")).toBe(
    [
      "keys before the crash   100,000",
      "keys after it           100,000 (1,000 values compared, all the same)",
      "pod                     redis-1, the same one",
      "  its RESTARTS          2",
      "  its image             its checkpoint's",
      "restored from           redis-demo-1",
      "  its size              17.5 MB",
      "  frozen to take it     115 ms",
      "  its digest            sha256:0123456789ab",
      "SIGKILL to all keys     2.52 s",
      "  no answer             0.86 s",
      "  an empty database     0.95 s",
      "  no answer             0.69 s",
    ].join("\n"),
  );
  expect(isWhole(result, seen)).toBe(true);
});

it("with the handler the image stays, and nobody sees an empty database", () => {
  const [down, , , full] = seen.spans;
  const lines = summary(
    { ...result, strategy: "runtime", restarts: 1, emptyWindowMs: 0 },
    { ...seen, sameImage: true, spans: [down!, full!] },
  );
  expect(lines).toContain("  its RESTARTS          1");
  expect(lines).toContain("  its image             unchanged");
  expect(lines.slice(-2)).toEqual(["  no answer             2.50 s", "  an empty database     never"]);
});

it("says so when not everything came back", () => {
  const lost = { ...result, keysAfter: 99_999 };
  const other = { ...seen, differing: ["key:1", "key:2"] };
  expect(summary(lost, other)[1]).toContain("99,999 (1,000 values compared, 2 differ)");
  expect(isWhole(lost, seen)).toBe(false);
  expect(isWhole(result, other)).toBe(false);
});
