import type { FileHandle } from "node:fs/promises";
import type { TarEntry, TarType } from "./tar-reader.ts";
import { type RawPath, raw } from "./tree.ts";

export type TarHeader = Pick<TarEntry, "name" | "type" | "mode" | "uid" | "gid" | "mtime"> & {
  linkName?: RawPath;
  size?: number;
};

const BLOCK = 512;
const FLAGS: Readonly<Record<TarType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/** Writes a tar (ustar, with pax headers for what does not fit into it) to the end of a file. */
export class TarWriter {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** `content` gives exactly `header.size` bytes. Errors: the system's; those of `content`. */
  async add(header: TarHeader, content?: AsyncIterable<Buffer>): Promise<void> {
    await this.#file.writeFile(headerBlocks(header));
    for await (const chunk of content ?? []) await this.#file.writeFile(chunk);
    await this.#file.writeFile(Buffer.alloc(padding(header.size ?? 0)));
  }

  /** The end mark. */
  async finish(): Promise<void> {
    await this.#file.writeFile(Buffer.alloc(2 * BLOCK));
  }
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function headerBlocks(header: TarHeader): Buffer {
  const { name, linkName = "", size = 0, uid, gid, mtime } = header;
  const records = [
    ...(fits(name) ? [] : [record("path", name)]),
    ...(fits(linkName) ? [] : [record("linkpath", linkName)]),
    ...(fitsOctal(size, 11) ? [] : [record("size", String(size))]),
    ...(fitsOctal(uid, 7) ? [] : [record("uid", String(uid))]),
    ...(fitsOctal(gid, 7) ? [] : [record("gid", String(gid))]),
    ...(fitsOctal(mtime, 11) ? [] : [record("mtime", mtime.toFixed(6))]),
  ];
  const own = block(header, FLAGS[header.type]);
  if (records.length === 0) return own;
  const content = Buffer.concat(records);
  const extended = { name: "pax", type: "file", mode: 0o600, uid: 0, gid: 0, mtime: 0 } as const;
  return Buffer.concat([
    block({ ...extended, size: content.length }, "x"),
    content,
    Buffer.alloc(padding(content.length)),
    own,
  ]);
}

const fits = (path: RawPath): boolean => path.length <= 100 && /^[\x20-\x7e]*$/.test(path);

const fitsOctal = (value: number, digits: number): boolean =>
  Number.isInteger(value) && value >= 0 && value < 8 ** digits;

/** "LENGTH KEY=VALUE\n", where LENGTH counts its own digits too. */
function record(key: string, value: RawPath): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return raw(`${length}${rest}`);
}

function block({ name, linkName = "", mode, uid, gid, size = 0, mtime }: TarHeader, flag: string): Buffer {
  const made = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): void => {
    const shown = fitsOctal(value, digits) ? value : 0;
    made.write(shown.toString(8).padStart(digits, "0"), at, "latin1");
  };
  made.write(name.slice(0, 100), 0, "latin1");
  octal(mode & 0o7777, 100, 7);
  octal(uid, 108, 7);
  octal(gid, 116, 7);
  octal(size, 124, 11);
  octal(mtime, 136, 11);
  made.write("        ", 148, "latin1");
  made.write(flag, 156, "latin1");
  made.write(linkName.slice(0, 100), 157, "latin1");
  made.write("ustar\x0000", 257, "latin1");
  octal(
    made.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  );
  made.write("\0 ", 154, "latin1");
  return made;
}
