import type { Outage, Span } from "./outage.ts";
import { columns, megabytes, seconds, thousands } from "./screen.ts";

/** What was seen, as `--json` writes it. */
export interface Result {
  checkpoint: {
    name: string;
    phase: string;
    /** By digest: what the pod's image became. */
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
  strategy: "image";
}

/** What only the summary for people says. */
export interface Seen extends Pick<Outage, "spans"> {
  pod: string;
  node: string;
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
  return spans.slice(0, -1).map(({ stage, fromMs }, i) => {
    const lasted = spans[i + 1]!.fromMs - fromMs;
    return [`  ${stages[stage]}`, seconds(lasted)];
  });
}

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
    ["pod", `${seen.pod}, the same one, ${restarts} restarts`],
    ["restored from", checkpoint.name],
    ["  its size", megabytes(checkpoint.bytes)],
    ["  frozen to take it", `${checkpoint.frozenMs.toFixed(0)} ms`],
    ["  its image", checkpoint.digest],
    ["SIGKILL to all keys", seconds(killToServingMs)],
    ...spanRows(seen.spans),
  ]);
}

/** Whether everything came back. */
export const isWhole = ({ keysBefore, keysAfter }: Result, { differing }: Seen): boolean =>
  keysAfter === keysBefore && differing.length === 0;
