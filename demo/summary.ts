import type { Outage, Span } from "./outage.ts";
import { columns, megabytes, seconds, thousands } from "./screen.ts";
import type { StrategyName } from "./strategy.ts";

/** What was seen, as `--json` writes it. */
export interface Result {
  checkpoint: {
    name: string;
    phase: string;
    /** Its image, by digest. With strategy image the pod's image became this. */
    image: string;
    digest: string;
    bytes: number;
    frozenMs: number;
  };
  keysBefore: number;
  keysAfter: number;
  /** As the kubelet counts them. */
  restarts: number;
  /** From SIGKILL to the first answer with all keys. */
  killToServingMs: number;
  /** From the first answer of an empty database to the last; 0 if none. */
  emptyWindowMs: number;
  strategy: StrategyName;
}

/** What only the summary for people says. */
export interface Seen extends Pick<Outage, "spans"> {
  pod: string;
  node: string;
  /** Whether the image in the pod's spec is what it was before the crash. */
  sameImage: boolean;
  /** How many values were read back, and the keys whose values differed. */
  compared: number;
  differing: readonly string[];
}

const stages: Record<Span["stage"], string> = {
  full: "all keys",
  partial: "some of the keys",
  empty: "an empty database",
  down: "no answer",
};

/** Each span lasts until the next begins. */
function spanRows(spans: readonly Span[]): string[][] {
  const never = spans.some(({ stage }) => stage === "empty") ? [] : [[`  ${stages.empty}`, "never"]];
  const seen = spans.slice(0, -1).map(({ stage, fromMs }, i) => {
    const lasted = spans[i + 1]!.fromMs - fromMs;
    return [`  ${stages[stage]}`, seconds(lasted)];
  });
  return [...seen, ...never];
}

/** A digest as people compare it: its first twelve digits. */
const short = (digest: string): string => digest.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1");

/** The table at the end. */
export function summary(result: Result, seen: Seen): string[] {
  const { checkpoint, keysBefore, keysAfter, restarts, killToServingMs } = result;
  const same =
    seen.differing.length === 0
      ? `${thousands(seen.compared)} values compared, all the same`
      : `${thousands(seen.compared)} values compared, ${seen.differing.length} differ`;
  return columns([
    ["keys before the crash", thousands(keysBefore)],
    ["keys after it", `${thousands(keysAfter)} (${same})`],
    ["pod", `${seen.pod}, the same one`],
    ["  its RESTARTS", String(restarts)],
    ["  its image", seen.sameImage ? "unchanged" : "its checkpoint's"],
    ["restored from", checkpoint.name],
    ["  its size", megabytes(checkpoint.bytes)],
    ["  frozen to take it", `${checkpoint.frozenMs.toFixed(0)} ms`],
    ["  its digest", short(checkpoint.digest)],
    ["SIGKILL to all keys", seconds(killToServingMs)],
    ...spanRows(seen.spans),
  ]);
}

/** Whether everything came back. */
export const isWhole = ({ keysBefore, keysAfter }: Result, { differing }: Seen): boolean =>
  keysAfter === keysBefore && differing.length === 0;
