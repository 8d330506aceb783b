import { styleText } from "node:util";
import type { Io } from "../io.ts";

/** What a piece of text means; how that looks is decided here. */
export type Tone = "good" | "bad" | "warn" | "dim" | "bold";

const STYLES = { good: "green", bad: "red", warn: "yellow", dim: "dim", bold: "bold" } as const;

export type Paint = (tone: Tone | undefined, text: string) => string;

/** Colours where stdout shows them, else the text as it is. */
export const painter =
  (io: Pick<Io, "colour">): Paint =>
  (tone, text) =>
    io.colour && tone !== undefined && text !== ""
      ? styleText(STYLES[tone], text, { validateStream: false })
      : text;
