import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { HANDLER_NOTE } from "../../store/copy.ts";
import { HANDLER_NOTE_VERSION, readHandlerNote } from "./note.ts";

let copy: string;
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "kcr-note-"));
  mkdirSync(join(copy, "checkpoint"));
});
afterEach(() => rmSync(copy, { recursive: true }));

const note = { node: "worker", lowerDirectories: ["/a"], captured: [], left: [] };
const write = (more: object) => writeFileSync(join(copy, HANDLER_NOTE), JSON.stringify({ ...note, ...more }));

it("a checkpoint that no handler saw being taken has none", async () => {
  expect(await readHandlerNote(copy)).toBeUndefined();
});

it("is read of every protocol up to its own, and without a number", async () => {
  for (const version of [undefined, HANDLER_NOTE_VERSION]) {
    write({ version });
    expect(await readHandlerNote(copy)).toMatchObject(note);
  }
});

it("of a handler of a later version is told apart from one that is damaged", async () => {
  write({ version: HANDLER_NOTE_VERSION + 1, captured: "elsewhere" });
  await expect(readHandlerNote(copy)).rejects.toMatchObject({ code: "ProtocolUnknown", corrupt: false });
  write({ captured: "elsewhere" });
  await expect(readHandlerNote(copy)).rejects.toMatchObject({ code: "ArchiveInvalid" });
});
