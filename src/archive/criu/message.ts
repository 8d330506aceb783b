import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ArchiveError } from "../errors.ts";

/**
 * The fields of a protobuf message by number, without a schema; of a field that is not repeated the last counts.
 *
 * Errors, of each: `malformed` when a value is not of that kind.
 */
export interface Fields {
  /** An integer that a double holds; addresses and sizes that need not be such are read by `big`. */
  number(field: number): number | undefined;
  /** 64 bits. */
  big(field: number): bigint | undefined;
  flag(field: number): boolean;
  /** UTF-8. */
  text(field: number): string | undefined;
  bytes(field: number): Buffer | undefined;
  message(field: number): Fields | undefined;
  /** Of a repeated field, all, packed or not. */
  numbers(field: number): number[];
  bigs(field: number): bigint[];
  /** Of a repeated field, all, each read when it is come to. */
  messages(field: number): Iterable<Fields>;
}

/** What one message may hold: far above what CRIU writes (a process has some 65 000 mappings at most by default). */
const FIELD_LIMIT = 300_000;

/** Errors: `malformed` when the bytes are no message, `too-large` when it has more fields than are read. */
export function parseMessage(name: string, bytes: Uint8Array): Fields {
  const values = new Map<number, (bigint | Uint8Array)[]>();
  let count = 0;
  const counted = () => {
    count += 1;
    if (count > FIELD_LIMIT) throw new ArchiveError("too-large", `${name}: a message of too many fields`);
  };
  const add = (field: number, value: bigint | Uint8Array) => {
    counted();
    const before = values.get(field);
    if (before === undefined) values.set(field, [value]);
    else before.push(value);
  };
  reading(name, () => {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (type === WireType.Varint) add(field, BigInt(reader.uint64()));
      else if (type === WireType.LengthDelimited) add(field, reader.bytes());
      else reader.skip(type, field);
    }
  });
  const big = (field: number) => {
    const value = values.get(field)?.at(-1);
    if (value instanceof Uint8Array) throw malformed(name);
    return value;
  };
  const block = (field: number) => {
    const value = values.get(field)?.at(-1);
    if (typeof value === "bigint") throw malformed(name);
    return value && Buffer.from(value.buffer, value.byteOffset, value.length);
  };
  const small = (field: number, value: bigint) => {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new ArchiveError("malformed", `${name}: ${value} in field ${field} is no sensible number`);
    }
    return Number(value);
  };
  const bigs = (field: number) => {
    const found: bigint[] = [];
    for (const value of values.get(field) ?? []) {
      if (typeof value === "bigint") {
        found.push(value);
        continue;
      }
      reading(name, () => {
        const reader = new BinaryReader(value);
        while (reader.pos < reader.len) {
          found.push(BigInt(reader.uint64()));
          counted();
        }
      });
    }
    return found;
  };
  return {
    number(field) {
      const value = big(field);
      return value === undefined ? undefined : small(field, value);
    },
    big,
    flag: (field) => (big(field) ?? 0n) !== 0n,
    text: (field) => block(field)?.toString("utf8"),
    bytes: block,
    message(field) {
      const value = block(field);
      return value && parseMessage(name, value);
    },
    numbers: (field) => bigs(field).map((value) => small(field, value)),
    bigs,
    *messages(field) {
      for (const value of values.get(field) ?? []) {
        if (typeof value === "bigint") throw malformed(name);
        yield parseMessage(name, value);
      }
    },
  };
}

/** Two's complement as protobuf writes an int32, of 64 bits. */
export const signed = (value: bigint | undefined): number | undefined =>
  value === undefined ? undefined : Number(BigInt.asIntN(32, value));

/** The zigzag of a sint32. */
export const zigzag = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : value % 2 === 0 ? value / 2 : -(value + 1) / 2;

function reading(name: string, read: () => void): void {
  try {
    read();
  } catch (cause) {
    if (cause instanceof ArchiveError) throw cause;
    throw malformed(name, cause);
  }
}

const malformed = (name: string, cause?: unknown): ArchiveError =>
  new ArchiveError("malformed", `${name}: not the message it should be`, { cause });
