import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ArchiveError } from "../errors.ts";

/** The fields of a protobuf message by number, without a schema; a field that comes twice counts as its last. */
export interface Fields {
  number(field: number): number | undefined;
  /** UTF-8. */
  text(field: number): string | undefined;
  message(field: number): Fields | undefined;
  /** Of a repeated field, all. */
  messages(field: number): Fields[];
}

/** Errors: `malformed` when the bytes are no message. */
export function parseMessage(name: string, bytes: Uint8Array): Fields {
  const numbers = new Map<number, bigint>();
  const blocks = new Map<number, Uint8Array[]>();
  try {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (type === WireType.Varint) numbers.set(field, BigInt(reader.uint64()));
      else if (type === WireType.LengthDelimited) {
        const block = reader.bytes();
        const before = blocks.get(field);
        if (before === undefined) blocks.set(field, [block]);
        else before.push(block);
      } else reader.skip(type, field);
    }
  } catch (cause) {
    throw new ArchiveError("malformed", `${name}: not the message it should be`, { cause });
  }
  return {
    number(field) {
      const value = numbers.get(field);
      if (value === undefined) return undefined;
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
        throw new ArchiveError("malformed", `${name}: ${value} in field ${field} is no sensible number`);
      }
      return Number(value);
    },
    text(field) {
      const block = blocks.get(field)?.at(-1);
      return block && Buffer.from(block.buffer, block.byteOffset, block.length).toString("utf8");
    },
    message(field) {
      const block = blocks.get(field)?.at(-1);
      return block && parseMessage(name, block);
    },
    messages: (field) => (blocks.get(field) ?? []).map((block) => parseMessage(name, block)),
  };
}
