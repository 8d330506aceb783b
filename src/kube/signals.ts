import type { Logger } from "./log.ts";

/** The longest delay `setTimeout` takes; a longer one overflows and fires at once. */
const longestTimeoutMs = 2 ** 31 - 1;

/** Aborts when the process is told to end (SIGTERM, SIGINT), or before. */
export function stopWhenTold(log: Logger): AbortController {
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "stopping");
      stop.abort();
    });
  }
  return stop;
}

/** A signal of one operation that also aborts with its parent. Disposing it takes its listener off the parent. */
export interface ChildSignal extends Disposable {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
}

/**
 * Derives a signal from a parent that may live as long as the process. `AbortSignal.any` keeps every child of such
 * a parent reachable; this one leaves nothing behind once disposed (`using child = follow(parent)`).
 */
export function follow(parent: AbortSignal | undefined): ChildSignal {
  const controller = new AbortController();
  const abort = () => controller.abort(parent?.reason);
  if (parent?.aborted) abort();
  else parent?.addEventListener("abort", abort, { once: true });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]: () => parent?.removeEventListener("abort", abort),
  };
}

/** Resolves after `ms` milliseconds, however many; rejects with the signal's reason when it aborts first. */
export async function delay(ms: number, signal?: AbortSignal): Promise<void> {
  const due = performance.now() + ms;
  for (let left = ms; left > 0; left = due - performance.now()) {
    await oneTimeout(Math.min(left, longestTimeoutMs), signal);
  }
  signal?.throwIfAborted();
}

function oneTimeout(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const finish = () => {
      signal?.removeEventListener("abort", cancel);
      resolve();
    };
    const cancel = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(finish, Math.ceil(ms));
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

/**
 * Calls `fire` once after `ms` milliseconds, however many (`setTimeout` overflows past 2^31-1). The returned
 * function cancels.
 */
export function after(ms: number, fire: () => void): () => void {
  const due = performance.now() + ms;
  let timer: NodeJS.Timeout;
  const arm = () => {
    const left = due - performance.now();
    timer =
      left > longestTimeoutMs
        ? setTimeout(arm, longestTimeoutMs)
        : setTimeout(fire, Math.max(0, Math.ceil(left)));
  };
  arm();
  return () => clearTimeout(timer);
}

/** Settles as `promise` does, or rejects with the signal's reason when it aborts first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
