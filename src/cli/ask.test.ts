import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { confirm } from "./ask.ts";
import { testIo } from "./testing/io.ts";

describe("a question", () => {
  it.each([
    ["y\n", true],
    ["Yes\n", true],
    ["n\n", false],
    ["\n", false],
    ["yesterday\n", false],
    // Ctrl-D.
    ["", false],
  ])("answered %j at a terminal: %s", async (input, expected) => {
    const io = testIo({ tty: true, input });
    expect(await confirm(io, "Go on?")).toBe(expected);
    expect(io.written).toMatchObject({ out: "", err: "Go on? [y/N] " });
  });

  it("is not asked where there is no terminal", async () => {
    const io = testIo();
    expect(await confirm(io, "Go on?")).toBe(true);
    expect(io.written.err).toBe("");
  });

  it("that a person would not see is not taken for answered", async () => {
    const io = testIo({ terminal: { in: true, out: true, err: false } });
    await expect(confirm(io, "Go on?")).rejects.toThrow("Go on? Nobody sees this question: say --yes");
  });

  it("ends when it is interrupted, with what follows on a line of its own", async () => {
    const interrupt = new AbortController();
    const io = testIo({ tty: true, stdin: new PassThrough(), signal: interrupt.signal });
    const asked = confirm(io, "Go on?");
    interrupt.abort();
    await expect(asked).rejects.toThrow();
    expect(io.written.err).toBe("Go on? [y/N] \r\n");
  });
});
