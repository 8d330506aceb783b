/**
 * What must not reach a terminal from someone else's text: control characters of both sets (escape sequences begin
 * with one), line and paragraph separators, direction overrides and other marks that are not seen, and halves of
 * surrogate pairs.
 */
const UNSAFE =
  /[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\p{Cs}]|\u{e0000}|[\u{e0020}-\u{e007f}]/gu;

/** One piece of hostile text as one line that shows what is in it: `\x1b`, `\n`, `‮`. */
export const safe = (text: string): string => text.replace(UNSAFE, escaped);

/** As {@link safe}, of text that may have lines and tabs. */
export const safeLines = (text: string): string =>
  text.replace(UNSAFE, (mark) => (mark === "\n" || mark === "\t" ? mark : escaped(mark)));

/** JSON with the characters escaped that JSON itself lets through. */
export const safeJson = (value: unknown, indent?: number): string =>
  // A value without any JSON, such as undefined, is none.
  escapeUnsafe(JSON.stringify(value, null, indent) ?? "null");

/** JSON or YAML in which the characters, all within quotes, that are not safe are escaped as both know it. */
export const escapeUnsafe = (text: string): string =>
  text.replace(UNSAFE, (mark) => (mark === "\n" ? mark : utf16(mark)));

/** Whether a terminal can be given the text as it is. */
export const isSafe = (text: string): boolean => text.search(UNSAFE) === -1;

const short: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0" };

function escaped(mark: string): string {
  const code = mark.codePointAt(0)!;
  return short[mark] ?? (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : utf16(mark));
}

const utf16 = (mark: string): string =>
  [...Array(mark.length).keys()]
    .map((at) => `\\u${mark.charCodeAt(at).toString(16).padStart(4, "0")}`)
    .join("");
