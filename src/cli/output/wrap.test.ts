import { expect, it } from "vitest";
import { wrap } from "./wrap.ts";

it.each<[string, number | undefined, string[]]>([
  ["a word and another", undefined, ["a word and another"]],
  ["a word and another", 6, ["a word", "and", "another"]],
  ["longerthanthis is", 4, ["longerthanthis", "is"]],
  ["", 4, [""]],
  ["終わり です", 6, ["終わり", "です"]],
])("%j in %s columns", (text, width, lines) => {
  expect(wrap(text, width)).toEqual(lines);
});
