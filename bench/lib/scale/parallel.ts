import { ApiError } from "../../../src/kube/errors.ts";
import { delay } from "../../../src/kube/signals.ts";

/** How often something is tried on a machine that is too busy to answer in time. */
const TRIES = 10;

/** Does something that may be done twice until it succeeds. Errors: the API server's own word, and the last of others. */
export async function persistently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      const isRefused = error instanceof ApiError && error.status < 500 && error.status !== 429;
      if (isRefused || tries >= TRIES) throw error;
    }
    await delay(1000 * tries, signal);
  }
}

/** Does something that may be done twice with each item, so many at once. Errors: the first one; nothing new is begun after it. */
export async function inParallel<T>(
  items: readonly T[],
  atOnce: number,
  signal: AbortSignal,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < items.length && !failed) {
      signal.throwIfAborted();
      const item = items[next++]!;
      try {
        await persistently(signal, () => work(item));
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
}
