import { safe } from "../output/safe.ts";

/** A piece of memory as one line of text: UTF-8 where it is that, else each byte that is not ASCII as `\x9f`. */
export function textOf(bytes: Buffer): string {
  try {
    return safe(STRICT.decode(bytes));
  } catch {
    return bytes.toString("latin1").replace(/[^\x20-\x7e]/g, escaped);
  }
}

const STRICT = new TextDecoder("utf-8", { fatal: true });

const escaped = (byte: string): string => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`;
