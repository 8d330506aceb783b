/**
 * RESP2, the protocol that Redis speaks, as far as the demo needs it.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/
 */

export type Reply = string | number | null | RedisError | Reply[];

/** An error that Redis answered. */
export class RedisError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RedisError";
  }
}

/** A command as Redis reads it: an array of bulk strings. */
export function encodeCommand(parts: readonly string[]): string {
  const bulks = parts.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  return `*${parts.length}\r\n${bulks.join("")}`;
}

/** Takes bytes in pieces of any size and gives the whole replies in them. */
export class ReplyReader {
  #buffer = Buffer.alloc(0);
  #at = 0;

  /** The replies that are whole with this piece. Errors: a TypeError for bytes that are no RESP2. */
  push(piece: Buffer): Reply[] {
    this.#buffer = Buffer.concat([this.#buffer.subarray(this.#at), piece]);
    this.#at = 0;
    const replies: Reply[] = [];
    for (;;) {
      const start = this.#at;
      const reply = this.#reply();
      if (reply === undefined) {
        this.#at = start;
        return replies;
      }
      replies.push(reply);
    }
  }

  #reply(): Reply | undefined {
    const line = this.#line();
    if (line === undefined) return undefined;
    const rest = line.slice(1);
    switch (line[0]) {
      case "+":
        return rest;
      case "-":
        return new RedisError(rest);
      case ":":
        return number(rest);
      case "$":
        return this.#bulk(number(rest));
      case "*":
        return this.#array(number(rest));
      default:
        throw new TypeError(`not a Redis reply: ${JSON.stringify(line.slice(0, 40))}`);
    }
  }

  #line(): string | undefined {
    const end = this.#buffer.indexOf("\r\n", this.#at);
    if (end < 0) return undefined;
    const line = this.#buffer.toString("utf8", this.#at, end);
    this.#at = end + 2;
    return line;
  }

  #bulk(length: number): string | null | undefined {
    if (length < 0) return null;
    const end = this.#at + length;
    if (this.#buffer.length < end + 2) return undefined;
    const text = this.#buffer.toString("utf8", this.#at, end);
    this.#at = end + 2;
    return text;
  }

  #array(length: number): Reply[] | null | undefined {
    if (length < 0) return null;
    const items: Reply[] = [];
    while (items.length < length) {
      const item = this.#reply();
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items;
  }
}

function number(text: string): number {
  if (!/^[+-]?\d+$/.test(text)) throw new TypeError(`not a number of Redis: ${JSON.stringify(text)}`);
  return Number(text);
}
