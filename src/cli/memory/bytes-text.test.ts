import { expect, test } from "vitest";
import { textOf } from "./bytes-text.ts";

test.each([
  ["plain", Buffer.from("password=hush"), "password=hush"],
  ["UTF-8", Buffer.from("größe"), "größe"],
  ["what a terminal would obey", Buffer.from("a\u001b[2J\nb"), "a\\x1b[2J\\nb"],
  ["no UTF-8", Buffer.from([0x61, 0xff, 0x00, 0x7f, 0x62]), "a\\xff\\x00\\x7fb"],
  ["UTF-8 that breaks off", Buffer.from("ö").subarray(0, 1), "\\xc3"],
])("memory as a line of text: %s", (_what, bytes, text) => {
  expect(textOf(bytes)).toBe(text);
});
