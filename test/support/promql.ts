/** What one selector of an expression asks for. */
export interface Selector {
  metric: string;
  /** Labels that it matches on. */
  labels: string[];
}

/** What an expression of PromQL names. */
export interface Named {
  selectors: Selector[];
  /** Labels that it groups, joins or ignores by. */
  groupings: string[];
}

const WORDS = new Set(["and", "or", "unless", "bool", "offset", "start", "end", "inf", "nan"]);
const LABEL_LISTS = new Set(["by", "without", "on", "ignoring", "group_left", "group_right"]);
/** What may stand between an aggregation and what it aggregates. */
const AGGREGATED = new Set(["by", "without"]);
const TOKEN =
  /(?<space>\s+)|(?<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?<word>[A-Za-z_:][\w:]*)|(?<range>\[[^\]]*\])|(?<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:ms|[smhdwy])?)|(?<sign>[=!]~|[=!<>]=|[-+*/%^<>=(){},@])/y;
const CLOSES: Readonly<Record<string, string>> = { "(": ")", "{": "}" };
const DURATION = /^\[(?:(?:\d+(?:ms|[smhdwy]))+|\$__rate_interval)(?::(?:\d+[smhdwy])?)?\]$/;

/**
 * Reads an expression as far as is needed to know what it names: not its types. Source:
 * https://prometheus.io/docs/prometheus/latest/querying/basics/.
 *
 * Errors: what is no token, a bracket that is not closed, a range that is none.
 */
export function parsePromql(expression: string): Named {
  const tokens = tokensOf(expression);
  const named: Named = { selectors: [], groupings: [] };
  const open: string[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const { kind, text } = tokens[at]!;
    const next = tokens[at + 1]?.text;
    if (kind === "range" && !DURATION.test(text)) throw new Error(`${text} is no range: ${expression}`);
    if (text in CLOSES) open.push(CLOSES[text]!);
    else if (text === ")" || text === "}") {
      if (open.pop() !== text) throw new Error(`${text} closes nothing: ${expression}`);
    }
    if (kind !== "word") continue;
    if (LABEL_LISTS.has(text)) {
      if (next !== "(") continue;
      const end = closing(tokens, at + 1, expression);
      named.groupings.push(...wordsOf(tokens.slice(at + 2, end)));
      at = end;
    } else if (next !== "(" && !AGGREGATED.has(next ?? "") && !WORDS.has(text.toLowerCase())) {
      const end = next === "{" ? closing(tokens, at + 1, expression) : at;
      named.selectors.push({ metric: text, labels: wordsOf(tokens.slice(at + 1, end)) });
      at = end;
    }
  }
  if (open.length > 0) throw new Error(`${open.at(-1)} is missing: ${expression}`);
  return named;
}

interface Token {
  kind: string;
  text: string;
}

function tokensOf(expression: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < expression.length; ) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(expression);
    const found = Object.entries(match?.groups ?? {}).find(([, text]) => text !== undefined);
    if (found === undefined) throw new Error(`what is ${expression.slice(at)}`);
    const [kind, text] = found;
    if (kind !== "space") tokens.push({ kind, text: text! });
    at += text!.length;
  }
  return tokens;
}

function closing(tokens: readonly Token[], from: number, expression: string): number {
  const end = tokens.findIndex(({ text }, at) => at > from && text === CLOSES[tokens[from]!.text]);
  if (end < 0) throw new Error(`a bracket is not closed: ${expression}`);
  return end;
}

const wordsOf = (tokens: readonly Token[]): string[] =>
  tokens.filter(({ kind }) => kind === "word").map(({ text }) => text);
