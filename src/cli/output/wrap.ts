import { displayWidth } from "./width.ts";

/** A text in lines of at most so many columns, broken at blanks only; one line without a width. */
export function wrap(text: string, width?: number): string[] {
  if (width === undefined) return [text];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && displayWidth(longer) > width) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}
