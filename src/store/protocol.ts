/*
 * Protocol numbers: each text that one part of kcr writes and another reads bears one, `version`, an integer from 1 on;
 * a text without it is of 1. A number grows when readers of before would take what is written for something else, and
 * not for a field that they may pass over. A reader knows its own number and all before it. What bears a later one it
 * neither acts on nor writes over; it says so (ProtocolUnknown), and what follows is what follows where there is nothing.
 */

const numberOf = (value: unknown): unknown =>
  typeof value === "object" && value !== null && "version" in value && value.version !== undefined
    ? value.version
    : 1;

/** Whether a reader that knows `newest` and all before it may act on that. */
export function isKnown(value: unknown, newest: number): boolean {
  const number = numberOf(value);
  return Number.isSafeInteger(number) && (number as number) >= 1 && (number as number) <= newest;
}

/** The number that such a reader does not know yet; undefined for a known one, and for what is no number. */
export function laterProtocol(value: unknown, newest: number): number | undefined {
  const number = numberOf(value);
  return Number.isSafeInteger(number) && (number as number) > newest ? (number as number) : undefined;
}

/** The same of a text of JSON; undefined for what is none. */
export function laterProtocolIn(text: string | undefined, newest: number): number | undefined {
  try {
    return laterProtocol(JSON.parse(text ?? ""), newest);
  } catch {
    return undefined;
  }
}

/** Told of what bears a number that is not known: "the plan is of protocol 2, and no later one than 1 is known here". */
export const ofLaterProtocol = (what: string, later: number, newest: number): string =>
  `${what} is of protocol ${later}, and no later one than ${newest} is known here`;
