import { type CriuFailureCode, failureOf } from "../../archive/criu/failures.ts";

/** How often it is worth asking CRIU again after what may be chance. */
export const CHANCE = 2;

/** What CRIU may fail at by chance on a busy node. */
const BY_CHANCE: ReadonlySet<CriuFailureCode> = new Set(["ProcessBusy"]);

/** What errors of CRIU's log mean; undefined when none of them is known. */
export function criuError(
  errors: readonly string[],
): { code: CriuFailureCode; message: string; retries: number } | undefined {
  const failure = failureOf(errors);
  if (failure === undefined) return undefined;
  const { code, line } = failure;
  return { code, message: line.replace(/[.!]+$/, ""), retries: BY_CHANCE.has(code) ? CHANCE : 0 };
}
