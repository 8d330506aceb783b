const LINE_BYTES = 16;
/** Address, two blanks, three characters a byte, ` |`, the text, `|` and the end of the line. */
const LINE_LENGTH = 16 + 2 + 3 * LINE_BYTES + 2 + LINE_BYTES + 2;
const HEX = Buffer.from("0123456789abcdef");
const [BLANK, DOT, BAR, NEWLINE, STAR] = Buffer.from(" .|\n*") as unknown as [
  number,
  number,
  number,
  number,
  number,
];

/**
 * Memory as people read it: `00007f84539c5000  72 65 64 69 73 ... |redis...|`, sixteen bytes a line, and one `*`
 * for lines that are as the one before. Nothing but printable ASCII comes out of it, whatever goes in.
 */
export class Hexdump {
  #previous: Buffer | undefined;
  #isRepeating = false;
  /** Where the next line is to be, for it to be a repetition. */
  #next: bigint | undefined;

  /** The lines of these bytes; of the same memory they are to come in whole lines. A buffer of its own. */
  lines(address: bigint, bytes: Buffer): Buffer {
    const lines = Math.ceil(bytes.length / LINE_BYTES);
    const text = Buffer.allocUnsafe(lines * (LINE_LENGTH + 2));
    if (address !== this.#next) this.#previous = undefined;
    let previous = this.#previous;
    let previousAt = 0;
    let to = 0;
    for (let at = 0; at < bytes.length; at += LINE_BYTES) {
      const isWhole = at + LINE_BYTES <= bytes.length;
      if (isWhole && previous !== undefined && areSame(previous, previousAt, bytes, at)) {
        if (!this.#isRepeating) {
          text[to++] = STAR;
          text[to++] = NEWLINE;
        }
        this.#isRepeating = true;
      } else {
        to = writeLine(text, to, address + BigInt(at), bytes, at);
        this.#isRepeating = false;
      }
      previous = isWhole ? bytes : undefined;
      previousAt = at;
    }
    this.#previous = previous && Buffer.from(previous.subarray(previousAt, previousAt + LINE_BYTES));
    this.#next = address + BigInt(bytes.length);
    return text.subarray(0, to);
  }
}

function areSame(a: Buffer, atA: number, b: Buffer, atB: number): boolean {
  for (let i = 0; i < LINE_BYTES; i++) if (a[atA + i] !== b[atB + i]) return false;
  return true;
}

function writeLine(text: Buffer, start: number, address: bigint, bytes: Buffer, at: number): number {
  let to = start;
  const high = Number(address >> 32n);
  const low = Number(address & 0xffffffffn);
  for (let shift = 28; shift >= 0; shift -= 4) text[to++] = HEX[(high >>> shift) & 15]!;
  for (let shift = 28; shift >= 0; shift -= 4) text[to++] = HEX[(low >>> shift) & 15]!;
  text[to++] = BLANK;
  text[to++] = BLANK;
  const end = Math.min(at + LINE_BYTES, bytes.length);
  for (let i = at; i < end; i++) {
    const byte = bytes[i]!;
    text[to++] = HEX[byte >>> 4]!;
    text[to++] = HEX[byte & 15]!;
    text[to++] = BLANK;
  }
  for (let i = end; i < at + LINE_BYTES; i++) for (let n = 0; n < 3; n++) text[to++] = BLANK;
  text[to++] = BLANK;
  text[to++] = BAR;
  for (let i = at; i < end; i++) {
    const byte = bytes[i]!;
    text[to++] = byte >= 0x20 && byte < 0x7f ? byte : DOT;
  }
  text[to++] = BAR;
  text[to++] = NEWLINE;
  return to;
}
