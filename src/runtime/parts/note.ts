import { lstatSync } from "node:fs";
import { join } from "node:path";
import { HANDLER_NOTE, type HandlerNote } from "../../store/copy.ts";
import { isKnown, laterProtocolIn, ofLaterProtocol } from "../../store/protocol.ts";
import { PartError } from "./errors.ts";
import { readSmall } from "./open-file.ts";

/** The protocol that this code writes (src/store/protocol.ts). */
export const HANDLER_NOTE_VERSION = 1;
const NOTE_LIMIT = 4 * 1024 * 1024;

/**
 * What the handler wrote into a checkpoint; undefined for one that it did not see being taken. Errors: `PartError`
 * for what is no note, or one of a later protocol.
 */
export async function readHandlerNote(copyDir: string): Promise<HandlerNote | undefined> {
  const path = join(copyDir, HANDLER_NOTE);
  if (!lstatSync(path, { throwIfNoEntry: false })) return undefined;
  const text = await readSmall(path, NOTE_LIMIT);
  const note = parseHandlerNote(text);
  const later = laterProtocolIn(text, HANDLER_NOTE_VERSION);
  if (later !== undefined) {
    throw new PartError("ProtocolUnknown", ofLaterProtocol(HANDLER_NOTE, later, HANDLER_NOTE_VERSION));
  }
  if (!note) throw new PartError("ArchiveInvalid", `${HANDLER_NOTE} is no note of the handler's`);
  return note;
}

/** The note in that text; undefined for what is none, or of a later protocol. */
export function parseHandlerNote(text: string): HandlerNote | undefined {
  let value: Partial<HandlerNote> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !isKnown(value, HANDLER_NOTE_VERSION)) return undefined;
  const isWhole =
    typeof value.node === "string" &&
    Array.isArray(value.lowerDirectories) &&
    value.lowerDirectories.every((one) => typeof one === "string") &&
    areTexts(value.captured, "name", "destination") &&
    areTexts(value.left, "destination", "why");
  return isWhole ? (value as HandlerNote) : undefined;
}

const areTexts = (list: unknown, ...keys: string[]): boolean =>
  Array.isArray(list) &&
  list.every(
    (one) => typeof one === "object" && one !== null && keys.every((key) => typeof one[key] === "string"),
  );
