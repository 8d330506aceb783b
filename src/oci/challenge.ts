/** One way to authenticate that a `WWW-Authenticate` header offers; parameter names in lower case. */
export interface Challenge {
  /** In lower case: "basic", "bearer". */
  scheme: string;
  parameters: Readonly<Record<string, string>>;
}

const HEADER_LIMIT = 8192;
const TOKEN = /[A-Za-z0-9!#$%&'*+.^_`|~-]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;

/**
 * Reads `WWW-Authenticate` (RFC 9110, 11.6.1): several challenges may share one header, and a quoted value may
 * hold commas. What cannot be read ends the list; it is not an error.
 */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const headers = typeof header === "string" ? [header] : (header ?? []);
  return headers.flatMap((one) => parseOne(one.slice(0, HEADER_LIMIT)));
}

function parseOne(text: string): Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };
  const skip = () => {
    while (text[at] === " " || text[at] === "\t" || text[at] === ",") at += 1;
  };
  for (;;) {
    skip();
    const word = take(TOKEN)?.[0].toLowerCase();
    if (word === undefined) return challenges;
    if (text[at] !== "=") {
      challenges.push({ scheme: word, parameters: Object.create(null) });
      continue;
    }
    at += 1;
    const quoted = take(QUOTED);
    const value = quoted ? quoted[1]!.replace(/\\(.)/g, "$1") : take(TOKEN)?.[0];
    const current = challenges.at(-1);
    if (value === undefined || current === undefined) return challenges;
    current.parameters[word] = value;
  }
}
