import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeCommand, RedisError, type Reply, ReplyReader } from "./resp.ts";

const read = (text: string) => new ReplyReader().push(Buffer.from(text));

describe("a Redis reply", () => {
  it.each<[string, string, Reply]>([
    ["a simple string", "+OK\r\n", "OK"],
    ["an error", "-ERR no\r\n", new RedisError("ERR no")],
    ["a number", ":100000\r\n", 100_000],
    ["a bulk string with line ends in it", "$4\r\na\r\nb\r\n", "a\r\nb"],
    ["a bulk string counted in bytes", "$2\r\né\r\n", "é"],
    ["an empty one", "$0\r\n\r\n", ""],
    ["one that is not there", "$-1\r\n", null],
    ["an array", "*2\r\n:1\r\n*1\r\n$-1\r\n", [1, [null]]],
    ["an array that is not there", "*-1\r\n", null],
  ])("is read: %s", (_what, text, reply) => {
    expect(read(text)).toEqual([reply]);
  });

  it("is the same in whatever pieces it comes", () => {
    const bytes = Buffer.from("+OK\r\n*2\r\n$3\r\na\r\n\r\n:-7\r\n-LOADING wait\r\n$5\r\nhello\r\n");
    const whole = new ReplyReader().push(bytes);
    expect(whole).toHaveLength(4);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (cuts) => {
        const reader = new ReplyReader();
        const ends = [...cuts.sort((a, b) => a - b), bytes.length];
        const pieces = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
        expect(pieces.flatMap((piece) => reader.push(piece))).toEqual(whole);
      }),
    );
  });

  it("is refused when it is none", () => {
    expect(() => read("HTTP/1.1 400 Bad Request\r\n")).toThrow("not a Redis reply");
    expect(() => read(":many\r\n")).toThrow("not a number");
  });
});

it("a command counts bytes, not characters", () => {
  expect(encodeCommand(["SET", "k", "é"])).toBe("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\né\r\n");
});
