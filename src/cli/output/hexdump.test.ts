import { expect, test } from "vitest";
import { Hexdump } from "./hexdump.ts";

const lines = (dump: Hexdump, address: bigint, bytes: Buffer) =>
  dump.lines(address, bytes).toString().split("\n").slice(0, -1);

test("sixteen bytes a line, what cannot be printed as a dot", () => {
  const bytes = Buffer.concat([Buffer.from("redis\u001b[31m\0\x7f|"), Buffer.from([0x80, 0xff])]);
  expect(lines(new Hexdump(), 0x7f84_ffff_fff8n, Buffer.concat([bytes, Buffer.alloc(20, "y")]))).toEqual([
    "00007f84fffffff8  72 65 64 69 73 1b 5b 33 31 6d 00 7f 7c 80 ff 79  |redis.[31m..|..y|",
    "00007f8500000008  79 79 79 79 79 79 79 79 79 79 79 79 79 79 79 79  |yyyyyyyyyyyyyyyy|",
    "00007f8500000018  79 79 79                                         |yyy|",
  ]);
});

test("lines that are as the one before are one star, also from one piece to the next", () => {
  const dump = new Hexdump();
  const zeros = "0000000000001000  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  |................|";
  expect(lines(dump, 0x1000n, Buffer.alloc(64))).toEqual([zeros, "*"]);
  expect(lines(dump, 0x1040n, Buffer.alloc(64))).toEqual([]);
  expect(lines(dump, 0x1080n, Buffer.alloc(16, 1))).toEqual([
    expect.stringMatching(/^0000000000001080 {2}01/),
  ]);
  expect(lines(dump, 0x1090n, Buffer.alloc(32, 1))).toEqual(["*"]);
  // Further up there is something else in between.
  expect(lines(dump, 0x9000n, Buffer.alloc(16, 1))).toEqual([
    expect.stringMatching(/^0000000000009000 {2}01/),
  ]);
});
