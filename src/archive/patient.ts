import { createContext, Script } from "node:vm";

/** An expression was tried on one piece of memory for as long as anybody waits. */
export class SlowExpressionError extends Error {
  constructor(milliseconds: number, options?: ErrorOptions) {
    super(`the expression takes longer than ${milliseconds / 1000} s for a piece of memory`, options);
    this.name = "SlowExpressionError";
  }
}

/**
 * Makes a function that has no await in it one that ends: after so long with a `SlowExpressionError`, and at once
 * when a person interrupts the process. V8 can stop an expression in the midst of its backtracking, which only a
 * script can ask it for; that runs on this thread, so what is searched need not be copied to another.
 *
 * SIGINT goes to those that listen for it all the same: then the signal's reason is thrown.
 */
export function patient<Given, Made>(
  compute: (given: Given) => Made,
  milliseconds: number,
  signal?: AbortSignal,
): (given: Given) => Made {
  const names: { compute: typeof compute; given?: Given } = { compute };
  const context = createContext(names);
  const script = new Script("compute(given)");
  return (given) => {
    names.given = given;
    try {
      return script.runInContext(context, { timeout: milliseconds, breakOnSigint: true });
    } catch (error) {
      switch ((error as NodeJS.ErrnoException).code) {
        case "ERR_SCRIPT_EXECUTION_TIMEOUT":
          throw new SlowExpressionError(milliseconds, { cause: error });
        case "ERR_SCRIPT_EXECUTION_INTERRUPTED":
          // The script has kept it from them.
          if (!process.emit("SIGINT", "SIGINT")) process.kill(process.pid, "SIGINT");
          signal?.throwIfAborted();
      }
      throw error;
    }
  };
}
