import { processIo } from "./io.ts";
import { isCompleter, programName, run } from "./program.ts";

/** The program `kubectl kcr`, also called `kcr`. */

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => interrupt.abort(new Error(`interrupted (${signal})`)));
}
// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

const [, file, ...words] = process.argv;
const args = isCompleter(file) ? ["__complete", ...words] : words;
// Set, not exited with: what was written may still be on its way.
process.exitCode = await run(processIo(interrupt.signal, programName(file)), args);
