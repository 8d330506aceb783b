import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/**
 * A protobuf message as the JSON that Go's encoding/json makes of it: fields by their names in the schema, numbers
 * as they are (64 bits would not survive JavaScript's), nothing that is empty or zero.
 */
export type Kind = "text" | "bool" | "number" | "numbers" | "texts" | "map" | Schema | { each: Schema };

/** Field number -> its name in JSON and its kind. Fields that are not listed are left out. */
export interface Schema {
  [field: number]: readonly [name: string, kind: Kind];
}

export interface Message {
  [name: string]: unknown;
}

/** Errors: those of the reader, for bytes that are no message. */
export function readMessage(schema: Schema, bytes: Uint8Array): Message {
  const message: Message = {};
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    const [name, kind] = schema[field] ?? [];
    if (name === undefined || kind === undefined) {
      reader.skip(type, field);
      continue;
    }
    switch (kind) {
      case "text":
        message[name] = reader.string();
        break;
      case "bool":
        message[name] = reader.bool();
        break;
      case "number":
        message[name] = exact(reader.int64());
        break;
      case "numbers":
        message[name] = [...((message[name] as unknown[]) ?? []), ...numbers(reader, type)];
        break;
      case "texts":
        message[name] = [...((message[name] as unknown[]) ?? []), reader.string()];
        break;
      case "map": {
        const { key = "", value = "" } = readMessage(ENTRY, reader.bytes());
        message[name] = { ...(message[name] as object), [String(key)]: value };
        break;
      }
      default: {
        const inner = (each: Schema) => readMessage(each, reader.bytes());
        message[name] = isEach(kind)
          ? [...((message[name] as unknown[]) ?? []), inner(kind.each)]
          : inner(kind);
      }
    }
  }
  return message;
}

const ENTRY: Schema = { 1: ["key", "text"], 2: ["value", "text"] };

const isEach = (kind: Schema | { each: Schema }): kind is { each: Schema } => "each" in kind;

function numbers(reader: BinaryReader, type: WireType): unknown[] {
  if (type !== WireType.LengthDelimited) return [exact(reader.int64())];
  const packed = new BinaryReader(reader.bytes());
  const all: unknown[] = [];
  while (packed.pos < packed.len) all.push(exact(packed.int64()));
  return all;
}

/** A number that JSON.stringify writes with all its digits. */
const exact = (value: bigint | string | number): unknown =>
  (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String(value));
