import { median } from "../../bench/lib/report.ts";

/** One look at a process. */
export interface Sample {
  /** Milliseconds since 1970. */
  at: number;
  rssBytes: number;
  files: number;
}

/** What became of one process over its life: medians of the second third of its samples and of the last. */
export interface Course {
  name: string;
  minutes: number;
  samples: number;
  rssMiB: [second: number, last: number];
  files: [second: number, last: number];
  /** Undefined: it did not live long enough to say. */
  flat: boolean | undefined;
}

/** A process that lived for less than this is still warming up: its heap grows by itself. */
export const LONG_ENOUGH_MINUTES = 8;
/** How much more the last third may have than the second: what a garbage collector makes of chance. */
export const TOLERANCE = { rssRatio: 1.1, rssMiB: 8, files: 5 };

const MIB = 2 ** 20;

export function courseOf(name: string, samples: readonly Sample[]): Course {
  const third = Math.floor(samples.length / 3);
  const [second, last] = [
    samples.slice(third, samples.length - third),
    samples.slice(samples.length - third),
  ];
  const both = (what: (sample: Sample) => number): [number, number] => [
    round(medianOf(second.map(what))),
    round(medianOf(last.map(what))),
  ];
  const minutes = ((samples.at(-1)?.at ?? 0) - (samples[0]?.at ?? 0)) / 60_000;
  const rssMiB = both(({ rssBytes }) => rssBytes / MIB);
  const files = both((sample) => sample.files);
  const flat =
    rssMiB[1] <= rssMiB[0] * TOLERANCE.rssRatio + TOLERANCE.rssMiB && files[1] <= files[0] + TOLERANCE.files;
  return {
    name,
    minutes: round(minutes),
    samples: samples.length,
    rssMiB,
    files,
    flat: minutes >= LONG_ENOUGH_MINUTES && third >= 8 ? flat : undefined,
  };
}

const medianOf = (values: readonly number[]) => (values.length === 0 ? 0 : median(values));
const round = (value: number) => Number(value.toFixed(1));
