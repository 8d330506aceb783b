import fc from "fast-check";
import { expect, test } from "vitest";
import { lines } from "./lines.ts";

async function* cut(bytes: Buffer, sizes: number[]) {
  for (let start = 0, turn = 0; start < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? bytes.length;
    yield bytes.subarray(start, start + size);
    start += size;
  }
}

test("lines come whole wherever the stream is cut, inside a character too", async () => {
  const line = fc.string({ unit: "grapheme" }).map((text) => text.replaceAll("\n", ""));
  const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(fc.array(line), sizes, async (texts, chunkSizes) => {
      const bytes = Buffer.from(texts.map((text) => `${text}\n`).join(""));
      expect(await Array.fromAsync(lines(cut(bytes, chunkSizes)))).toEqual(texts);
    }),
  );
});

test("a stream that ends in the middle of a line is an error, after the whole lines", async () => {
  const seen: string[] = [];
  const read = async () => {
    for await (const line of lines(cut(Buffer.from('{"a":1}\n{"b"'), [3]))) seen.push(line);
  };
  await expect(read()).rejects.toThrow("cut in the middle of a line");
  expect(seen).toEqual(['{"a":1}']);
});
