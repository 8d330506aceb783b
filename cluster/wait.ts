import { setTimeout as sleep } from "node:timers/promises";

/**
 * Asks `probe` until it says yes.
 *
 * Errors: when time is up, an Error that names `what` and has the probe's last error as its cause.
 */
export async function until(
  what: string,
  probe: () => Promise<boolean>,
  {
    timeoutMs,
    intervalMs = 200,
    signal,
  }: { timeoutMs: number; intervalMs?: number; signal?: AbortSignal | undefined },
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    let cause: unknown;
    try {
      if (await probe()) return;
    } catch (error) {
      cause = error;
    }
    signal?.throwIfAborted();
    if (Date.now() >= deadline) {
      const detail = cause instanceof Error ? `: ${cause.message}` : "";
      throw new Error(`${what} not within ${timeoutMs / 1000} s${detail}`, { cause });
    }
    await sleep(intervalMs, undefined, { signal });
  }
}
