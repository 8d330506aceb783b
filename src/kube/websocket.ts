import { createHash, randomBytes } from "node:crypto";

/*
 * As much of WebSockets (RFC 6455) as a client of the API server needs: the opening handshake, and frames. A message is
 * given out as it comes, in pieces, so that whoever reads slowly slows down the server.
 */

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** A server that does not keep to the protocol. */
export class WebSocketError extends Error {
  override readonly name = "WebSocketError";
}

/** Headers that ask for a WebSocket with that subprotocol, and what the server must answer to its key. */
export function handshake(protocol: string): { headers: Record<string, string>; accept: string } {
  const key = randomBytes(16).toString("base64");
  return {
    headers: {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": key,
      "sec-websocket-protocol": protocol,
    },
    accept: createHash("sha1").update(`${key}${GUID}`).digest("base64"),
  };
}

/** A whole frame, masked as a client's must be. */
export function encodeFrame(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const start = 2 + extra + 4;
  const frame = Buffer.allocUnsafe(start + length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
  if (extra === 2) frame.writeUInt16BE(length, 2);
  if (extra === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  const mask = randomBytes(4);
  frame.set(mask, start - 4);
  for (let n = 0; n < length; n++) frame[start + n] = payload[n]! ^ mask[n % 4]!;
  return frame;
}

/** A part of what a server has sent. */
export type Piece =
  /** Bytes of a message; `first` of one that begins here. */
  { type: "data"; first: boolean; bytes: Buffer } | { type: "close" | "ping" | "pong"; bytes: Buffer };

/** Reads the frames that a server sends, however they are cut. Errors: WebSocketError. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);
  /** Of the frame whose payload is being read. */
  #opcode: number | undefined;
  #left = 0;
  #first = false;
  #inMessage = false;

  *read(chunk: Buffer): Generator<Piece, void, undefined> {
    let bytes: Buffer = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    for (;;) {
      if (this.#opcode === undefined) {
        const length = this.#header(bytes);
        if (length === undefined) break;
        bytes = bytes.subarray(length);
      }
      const opcode = this.#opcode!;
      if (opcode >= OPCODE.close) {
        // Small, and given out whole.
        if (bytes.length < this.#left) break;
        yield { type: CONTROL[opcode]!, bytes: bytes.subarray(0, this.#left) };
        bytes = bytes.subarray(this.#left);
        this.#opcode = undefined;
        continue;
      }
      const piece = bytes.subarray(0, this.#left);
      bytes = bytes.subarray(piece.length);
      this.#left -= piece.length;
      if (piece.length > 0) {
        yield { type: "data", first: this.#first, bytes: piece };
        this.#first = false;
      }
      if (this.#left > 0) return;
      this.#opcode = undefined;
    }
    this.#pending = Buffer.from(bytes);
  }

  /** Length of the header that the bytes begin with; undefined while it is not whole. */
  #header(bytes: Buffer): number | undefined {
    const [first, second] = bytes;
    if (first === undefined || second === undefined) return undefined;
    const opcode = first & 0x0f;
    const isFinal = (first & 0x80) !== 0;
    if ((first & 0x70) !== 0 || (second & 0x80) !== 0)
      throw new WebSocketError("a frame with bits that are not agreed on");
    const short = second & 0x7f;
    const length = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0);
    if (bytes.length < length) return undefined;
    const size =
      short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
    if (!Number.isSafeInteger(size)) throw new WebSocketError(`a frame of ${size} bytes`);
    if (opcode >= OPCODE.close) {
      if (CONTROL[opcode] === undefined || !isFinal || size > 125)
        throw new WebSocketError("a control frame that is none");
    } else {
      const isNext = opcode === OPCODE.continuation;
      if (opcode > OPCODE.binary || isNext !== this.#inMessage)
        throw new WebSocketError("a frame out of order");
      if (!isNext) this.#first = true;
      this.#inMessage = !isFinal;
    }
    this.#opcode = opcode;
    this.#left = size;
    return length;
  }
}

const CONTROL: Record<number, "close" | "ping" | "pong"> = { 8: "close", 9: "ping", 10: "pong" };
