import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { yaml } from "./print.ts";
import { isSafe, safe, safeJson, safeLines } from "./safe.ts";

describe("hostile text", () => {
  it.each([
    ["\x1b[31mred\x07", "\\x1b[31mred\\x07"],
    ["two\nlines\tand\r\0", "two\\nlines\\tand\\r\\0"],
    ["\u009b2J", "\\x9b2J"],
    ["a\u202etxt.exe", "a\\u202etxt.exe"],
    ["half \ud83d", "half \\ud83d"],
    ["tag \u{e0041}", "tag \\udb40\\udc41"],
    ["as it is: ä 日本 🙂 \\", "as it is: ä 日本 🙂 \\"],
  ])("%j is shown as what it is", (text, shown) => {
    expect(safe(text)).toBe(shown);
  });

  it("may have lines where lines are wanted", () => {
    expect(safeLines("a\n\tb\x1b")).toBe("a\n\tb\\x1b");
  });

  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("\x1b]0;x\x07", "\u009b", "\u202e", "\ud800x"),
  );

  it("never reaches the terminal, as text, JSON or YAML", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(text, fc.oneof(text, fc.array(text))), async (data) => {
        for (const each of Object.keys(data)) expect(isSafe(safe(each))).toBe(true);
        const json = safeJson(data, 2);
        expect(isSafe(json.replaceAll("\n", ""))).toBe(true);
        expect(JSON.parse(json)).toEqual(data);
        const document = await yaml(data);
        expect(isSafe(document.replaceAll("\n", ""))).toBe(true);
      }),
    );
  });

  it("is in YAML what it was", async () => {
    const data = { "\x1bkey": "\u009b2J", list: ["a\nb", "\u202e", "x: y"] };
    expect(parse(await yaml(data))).toEqual(data);
  });
});
