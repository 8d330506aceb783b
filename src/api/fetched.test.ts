import { describe, expect, test } from "vitest";
import { fetchedText, readFetched } from "./fetched.ts";
import { FETCHED_ANNOTATION } from "./labels.ts";

const name = (n: number): string => n.toString(16).padStart(64, "0");
const nodeWith = (text: string | undefined) => ({
  metadata: { name: "node", ...(text !== undefined && { annotations: { [FETCHED_ANNOTATION]: text } }) },
});

describe("copies that a node has fetched", () => {
  test("are read as they are written, in one order", () => {
    expect(fetchedText([name(2), name(1), name(2)])).toBe(`${name(1)},${name(2)}`);
    expect(readFetched(nodeWith(fetchedText([name(2), name(1)])))).toEqual([name(1), name(2)]);
    expect(fetchedText([])).toBeUndefined();
    expect(readFetched(nodeWith(undefined))).toEqual([]);
  });

  test("are told of as far as there is room", () => {
    const many = Array.from({ length: 300 }, (_, i) => name(i));
    expect(readFetched(nodeWith(fetchedText(many)))).toHaveLength(256);
    expect(readFetched(nodeWith(many.join(",")))).toEqual([]);
  });

  test.each(["", ",", name(1).slice(1), `${name(1)},`, `${name(1)} `, name(1).replace("0", "x"), "../etc"])(
    "are none in %j",
    (text) => expect(readFetched(nodeWith(text))).toEqual([]),
  );
});
