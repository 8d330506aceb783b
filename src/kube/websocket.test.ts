import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeFrame, FrameReader, handshake, OPCODE, type Piece } from "./websocket.ts";

/** A frame as a server sends it: not masked. */
function served(opcode: number, payload: Buffer, { final = true, long = false } = {}): Buffer {
  const { length } = payload;
  const head = Buffer.from([(final ? 0x80 : 0) | opcode]);
  if (length < 126 && !long) return Buffer.concat([head, Buffer.from([length]), payload]);
  if (length < 65_536 && !long) {
    return Buffer.concat([head, Buffer.from([126, length >> 8, length & 0xff]), payload]);
  }
  const size = Buffer.alloc(9);
  size[0] = 127;
  size.writeBigUInt64BE(BigInt(length), 1);
  return Buffer.concat([head, size, payload]);
}

/** What is read of a stream that comes in pieces of these sizes: messages, and control frames in between. */
function read(stream: Buffer, sizes: Iterable<number>): { messages: Buffer[]; control: string[] } {
  const reader = new FrameReader();
  const messages: Buffer[] = [];
  const control: string[] = [];
  const take = (piece: Piece): void => {
    if (piece.type !== "data") control.push(`${piece.type} ${piece.bytes}`);
    else if (piece.first) messages.push(Buffer.from(piece.bytes));
    else messages.push(Buffer.concat([messages.pop()!, piece.bytes]));
  };
  let at = 0;
  for (const size of sizes) {
    for (const piece of reader.read(stream.subarray(at, at + size))) take(piece);
    at += size;
  }
  for (const piece of reader.read(stream.subarray(at))) take(piece);
  return { messages, control };
}

describe("what a server sends", () => {
  test("is read the same, however it is cut", () => {
    const payload = fc.uint8Array({ minLength: 1, maxLength: 70_000 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(
        fc.array(payload, { maxLength: 4 }),
        fc.array(fc.nat(3000), { maxLength: 40 }),
        (wanted, sizes) => {
          const frames = wanted.flatMap((message, n) => {
            const half = message.length >> 1;
            return [
              served(OPCODE.binary, message.subarray(0, half), { final: false, long: n % 2 === 0 }),
              served(OPCODE.ping, Buffer.from(`${n}`)),
              served(OPCODE.continuation, message.subarray(half)),
            ];
          });
          const { messages, control } = read(Buffer.concat(frames), sizes);
          expect(messages.length).toBe(wanted.length);
          for (const [n, message] of messages.entries()) expect(message.equals(wanted[n]!)).toBe(true);
          expect(control).toEqual(wanted.map((_, n) => `ping ${n}`));
        },
      ),
      { numRuns: 50 },
    );
  });

  test("is given out as it comes, and nothing of it kept", () => {
    const frame = served(OPCODE.binary, Buffer.alloc(100_000, 1));
    const reader = new FrameReader();
    const first = [...reader.read(frame.subarray(0, 50_000))];
    expect(first).toMatchObject([{ type: "data", first: true }]);
    expect([...reader.read(frame.subarray(50_000))]).toMatchObject([{ type: "data", first: false }]);
  });

  test.each([
    ["masked", Buffer.from([0x82, 0x81, 0, 0, 0, 0, 1])],
    ["with bits of an extension", Buffer.from([0xc2, 1, 1])],
    [
      "a text that goes on in a binary",
      Buffer.concat([served(1, Buffer.from("a"), { final: false }), served(2, Buffer.from("b"))]),
    ],
    ["the rest of nothing", served(OPCODE.continuation, Buffer.from("a"))],
    ["of a kind that is none", served(3, Buffer.from("a"))],
    ["control of a kind that is none", served(11, Buffer.from("a"))],
    ["control in parts", served(OPCODE.ping, Buffer.from("a"), { final: false })],
    ["control that is long", served(OPCODE.ping, Buffer.alloc(126))],
    ["of absurd length", Buffer.from([0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255])],
  ])("is refused: %s", (_, stream) => {
    expect(() => read(stream, [])).toThrow("frame");
  });
});

test("what a client sends is masked, with its length in the shortest form", () => {
  for (const [length, head] of [
    [0, 6],
    [125, 6],
    [126, 8],
    [65_535, 8],
    [65_536, 14],
  ] as const) {
    const payload = Buffer.alloc(length, 7);
    const frame = encodeFrame(OPCODE.binary, payload);
    expect(frame.length).toBe(head + length);
    expect([frame[0], frame[1]! & 0x80]).toEqual([0x82, 0x80]);
    const mask = frame.subarray(head - 4, head);
    expect(Buffer.from(frame.subarray(head).map((byte, n) => byte ^ mask[n % 4]!)).equals(payload)).toBe(
      true,
    );
  }
});

test("the server must answer to the key", () => {
  const { headers, accept } = handshake("v4.channel.k8s.io");
  expect(headers["sec-websocket-key"]).toMatch(/^[\w+/]{22}==$/);
  expect(accept).toMatch(/^[\w+/]{27}=$/);
  expect(handshake("v4.channel.k8s.io").accept).not.toBe(accept);
});
