const ASCII = /^[\x20-\x7e]*$/;
const NONE = /\p{Mn}|\p{Me}|\ufe0f/u;
const DOUBLE =
  /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Emoji_Presentation}|[\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]/u;

/** How many columns of a terminal a text without control characters takes. */
export function displayWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const mark of text) width += NONE.test(mark) ? 0 : DOUBLE.test(mark) ? 2 : 1;
  return width;
}
