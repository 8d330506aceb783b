import type { Redis } from "./redis.ts";
import { RedisError } from "./resp.ts";

/** Keys that are sent before their replies are waited for. */
const BATCH = 5_000;

/** What the demo writes: keys whose values are of this very run, so that none can be left from another. */
export interface DataSet {
  keys: number;
  /** Told apart by it from other runs. */
  run: string;
}

export const keyOf = (i: number): string => `key:${i}`;
export const contentOf = ({ run }: DataSet, i: number): string => `value ${i} of run ${run}`;

/** Writes all keys, many at once. Errors: RedisError for the first that is refused; those of the connection. */
export async function write(
  redis: Redis,
  data: DataSet,
  written: (keys: number) => void = () => {},
  signal?: AbortSignal,
): Promise<void> {
  for (let from = 0; from < data.keys; from += BATCH) {
    signal?.throwIfAborted();
    const count = Math.min(BATCH, data.keys - from);
    const commands = Array.from({ length: count }, (_, i) => [
      "SET",
      keyOf(from + i),
      contentOf(data, from + i),
    ]);
    const refused = (await redis.pipeline(commands)).find((reply) => reply instanceof RedisError);
    if (refused !== undefined) throw refused;
    written(from + count);
  }
}

/** Which keys are compared: at most `size` of them, evenly spread, the first and the last among them. */
export function sampleOf(keys: number, size: number): number[] {
  if (keys <= size) return Array.from({ length: keys }, (_, i) => i);
  return Array.from({ length: size }, (_, i) => Math.round((i * (keys - 1)) / (size - 1)));
}

/** The keys of the sample whose values are not what was written. */
export async function differing(redis: Redis, data: DataSet, sample: readonly number[]): Promise<string[]> {
  const replies = await redis.pipeline(sample.map((i) => ["GET", keyOf(i)]));
  return sample.filter((i, at) => replies[at] !== contentOf(data, i)).map(keyOf);
}
