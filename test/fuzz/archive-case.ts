import { gzipSync, zstdCompressSync } from "node:zlib";
import { checkpointEntries, type EntrySpec, message } from "../support/archive.ts";
import { image, PAGE, pagemapImage, VMA } from "../support/criu.ts";
import { processImages, regularFile } from "../support/processes.ts";
import { asText, mutated, NASTY, type Random } from "./random.ts";

/** One file of an archive that is made; `type` is tar's flag. */
interface Part {
  name: string;
  content: Buffer;
  type: string;
  link: string;
}

const ENGINES = ["containerd", "cri-o", "podman"] as const;
const STRINGS = 0x7000n;
/** A name that would do something to a terminal, wherever a stranger may choose one. */
const HOSTILE = "re\u001b[2J\u202edis\r";

/** Archives in order, from which all others are made. */
export function goodArchives(): readonly (readonly Part[])[] {
  return ENGINES.map((engine) =>
    checkpointEntries({ engine, containerName: HOSTILE, more: entries(engine) }).map(partOf),
  );
}

const partOf = ({ name, content = "", type, linkname = "" }: EntrySpec): Part => ({
  name,
  content: Buffer.from(content as Uint8Array),
  type: type === "directory" ? "5" : "0",
  link: linkname ?? "",
});

/** Two processes with all that is read of one, and changed files. */
function entries(engine: (typeof ENGINES)[number]): EntrySpec[] {
  const strings = Buffer.alloc(PAGE, ".");
  strings.write("redis\u001b[1mver\0--s\rve\0PATH=/bin\0API_TOKEN=hush\0secret=\u001b[31mred\0");
  const memory = {
    vmas: [
      { start: 0x1000n, pages: 2, prot: 5, flags: 2, status: 1n | VMA.filePrivate, sourceId: 2n },
      { start: STRINGS, pages: 2, flags: 0x122 },
      { start: 0x20000n, pages: 2, status: 1n | VMA.heap },
      { start: 0x30000n, pages: 1, flags: 0x21, status: 1n | VMA.shared, sourceId: 9n },
    ],
    runs: [
      { address: STRINGS, pages: 1 },
      { address: 0x20000n, pages: 1, flags: 1 },
      { address: 0x21000n, pages: 1 },
    ],
    pages: Buffer.concat([strings, Buffer.alloc(PAGE, "x")]),
    arguments: [STRINGS, STRINGS + 20n],
    environment: [STRINGS + 20n, STRINGS + 45n],
    exeFileId: 2,
  } as const;
  const inet = message({ 1: 3, 2: 77, 3: 2, 4: 1, 5: 6, 6: 1, 7: 80, 8: 4000, 9: 0, 10: 0, 11: 1, 12: 2 });
  const unix = message({
    1: 4,
    2: 78,
    3: 1,
    4: 1,
    5: 0,
    6: 0,
    7: 0,
    8: 79,
    11: Buffer.from(`\0abstract${HOSTILE}`),
  });
  const files = [
    regularFile(2, `/usr/bin/${HOSTILE}`),
    message({ 1: 4, 2: 3, 4: inet }),
    message({ 1: 5, 2: 4, 6: unix }),
    message({ 1: 2, 2: 5, 18: message({ 1: 5, 2: 9, 3: 0 }) }),
  ];
  const descriptors = [2, 3, 4, 5].map((fileId, fd) => ({ fd, type: 1, fileId }));
  const layer = pack([
    { name: "data/", content: Buffer.alloc(0), type: "5", link: "" },
    { name: "data/file", content: Buffer.from("content\u001b[2J"), type: "0", link: "" },
    { name: `data/${HOSTILE}`, content: Buffer.alloc(0), type: "2", link: "../../etc/passwd" },
    { name: "data/hard", content: Buffer.alloc(0), type: "1", link: "data/file" },
    { name: "data/.wh.gone", content: Buffer.alloc(0), type: "0", link: "" },
    { name: "etc/.wh..wh..opq", content: Buffer.alloc(0), type: "0", link: "" },
  ]);
  const mount = message({ 1: 5, 2: 100, 3: 1, 4: 0, 5: 0, 6: "/", 7: "./proc", 8: "tmpfs", 14: "tmpfs" });
  return [
    ...processImages(
      [
        { pid: 1, name: HOSTILE, threads: [7], memory, descriptors },
        { pid: 2, ppid: 1, name: "child", state: 3 },
        { pid: 3, ppid: 2, name: "dead", state: 6 },
      ],
      files,
    ),
    pagemapImage("pagemap-shmem-9.img", 90, [{ address: 0n, pages: 1 }]),
    { name: "checkpoint/pages-90.img", content: Buffer.alloc(PAGE, "s") },
    image("mounts", "mountpoints-1.img", [mount]),
    { name: "rootfs-diff.tar", content: engine === "containerd" ? gzipSync(layer) : layer },
    { name: "deleted.files", content: '["/etc/motd","tmp/a"]' },
    { name: "container.log", content: "2026-01-01T00:00:00Z stdout F hello\u001b[1m\n" },
  ];
}

/** Bytes that may be an archive, and the changes that made them of one in order. */
export function madeArchive(good: readonly (readonly Part[])[], random: Random): Buffer {
  let parts = [...random.pick(good)];
  for (let changes = random.below(4); changes >= 0; changes--) parts = changedParts(parts, random);
  let tar = pack(parts, random.chance(0.2) ? random : undefined);
  if (random.chance(0.1)) tar = changedBytes(tar, random);
  if (random.chance(0.05)) tar = tar.subarray(0, random.below(tar.length + 1));
  if (random.chance(0.04)) {
    tar = (random.chance(0.5) ? gzipSync(tar, { level: 1 }) : zstdCompressSync(tar)) as Buffer;
    if (random.chance(0.3)) tar = changedBytes(tar, random);
    if (random.chance(0.3)) tar = tar.subarray(0, random.below(tar.length));
  }
  return tar;
}

function changedParts(parts: readonly Part[], random: Random): Part[] {
  const at = random.below(parts.length);
  const part = parts[at]!;
  const put = (...instead: Part[]) => parts.toSpliced(at, 1, ...instead);
  switch (random.below(12)) {
    case 0:
      return put();
    case 1:
      return put(part, { ...part, ...(random.chance(0.5) && { name: nastyName(part.name, random) }) });
    case 2:
      return put({ ...part, name: nastyName(part.name, random) });
    case 3:
      return put({
        ...part,
        type: random.pick(["0", "1", "2", "5", "3", "6", "7", "S", "L", "x", "g", "\0", "Z"]),
      });
    case 4:
      return put({ ...part, content: part.content.subarray(0, random.below(part.content.length + 1)) });
    case 5: {
      const other = random.pick(parts);
      return put({ ...part, content: other.content });
    }
    default:
      return put({ ...part, content: changedContent(part, random) });
  }
}

function nastyName(name: string, random: Random): string {
  const nasty = random.pick(NASTY);
  return random.pick([
    nasty,
    `${name}${nasty}`,
    `${nasty}/${name}`,
    `checkpoint/../${name}`,
    `./${name}`,
    `\u001b[2J${name}`,
  ]);
}

function changedContent({ name, content }: Part, random: Random): Buffer {
  if (/\.dump$|\.files$/.test(name)) return Buffer.from(changedJson(content, random));
  if (!name.endsWith(".img") || name.includes("pages-")) return changedBytes(content, random);
  return changedImage(content, random);
}

function changedJson(content: Buffer, random: Random): string {
  if (random.chance(0.02)) return "[".repeat(5000);
  let value: unknown;
  try {
    value = JSON.parse(content.toString());
  } catch {
    return changedBytes(content, random).toString("latin1");
  }
  return asText(mutated(value, random), random);
}

function changedBytes(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  for (let left = 1 + random.below(4); left > 0 && copy.length > 0; left--) {
    copy[random.below(copy.length)] = random.pick([0, 0xff, 0x7f, 0x80, random.below(256)]);
  }
  return copy;
}

/** An image of which one record, its length or its magic is another. */
function changedImage(content: Buffer, random: Random): Buffer {
  const start = Math.min(8, content.length);
  const records: Buffer[] = [];
  for (let at = start; at + 4 <= content.length; ) {
    const length = content.readUInt32LE(at);
    records.push(content.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  const index = random.below(records.length + 1);
  const record = records[index] ?? Buffer.alloc(0);
  const image = (list: readonly Uint8Array[]) => framed(content.subarray(0, start), list);
  switch (random.below(8)) {
    case 0:
      return image(records.toSpliced(index, 1));
    case 1:
      return image(records.toSpliced(index, 0, ...Array<Buffer>(1 + random.below(3)).fill(record)));
    case 2: {
      const bad = image(records);
      const lengths = [0xffffffff, 0x7fffffff, 0, 17 * 2 ** 20, random.below(2 ** 16)];
      if (bad.length >= start + 4) bad.writeUInt32LE(random.pick(lengths), start);
      return bad;
    }
    case 3:
      return changedBytes(content, random);
    default:
      return image(records.toSpliced(index, 1, Buffer.from(changedMessage(record, random))));
  }
}

function framed(magic: Buffer, records: readonly Uint8Array[]): Buffer {
  const parts: Uint8Array[] = [magic];
  for (const record of records) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(record.length);
    parts.push(length, record);
  }
  return Buffer.concat(parts);
}

const NUMBERS = [
  0n,
  1n,
  2n,
  3n,
  0x7fn,
  0xfffn,
  0x1000n,
  2n ** 31n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** A message of which one field has another number, another value, another kind, comes twice or not at all. */
function changedMessage(bytes: Buffer, random: Random): Uint8Array {
  const fields = fieldsOf(bytes);
  if (fields === undefined || fields.length === 0) return changedBytes(bytes, random);
  const at = random.below(fields.length);
  const [field, value] = fields[at]!;
  const put = (...instead: [number, bigint | Buffer][]) => encode(fields.toSpliced(at, 1, ...instead));
  switch (random.below(6)) {
    case 0:
      return put();
    case 1:
      return put([field, value], [field, value]);
    case 2:
      return put([1 + random.below(25), value]);
    default:
      if (typeof value === "bigint") return put([field, random.pick(NUMBERS)]);
      if (random.chance(0.5)) return put([field, Buffer.from(changedMessage(value, random))]);
      return put([field, random.chance(0.3) ? random.pick(NUMBERS) : Buffer.from(random.pick(NASTY))]);
  }
}

/** Undefined where the bytes are no message of numbers and blocks. */
function fieldsOf(bytes: Buffer): [number, bigint | Buffer][] | undefined {
  const fields: [number, bigint | Buffer][] = [];
  let at = 0;
  const varint = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) return undefined;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const tag = varint();
    const value = varint();
    if (tag === undefined || value === undefined) return undefined;
    const field = Number(tag >> 3n);
    if ((tag & 7n) === 0n) fields.push([field, value]);
    else if ((tag & 7n) === 2n && value <= BigInt(bytes.length - at)) {
      fields.push([field, bytes.subarray(at, at + Number(value))]);
      at += Number(value);
    } else return undefined;
  }
  return fields;
}

function encode(fields: readonly (readonly [number, bigint | Buffer])[]): Buffer {
  const bytes: number[] = [];
  const varint = (number: bigint) => {
    let left = number;
    for (; left > 0x7fn; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80);
    bytes.push(Number(left));
  };
  for (const [field, value] of fields) {
    if (typeof value === "bigint") {
      varint(BigInt(field) << 3n);
      varint(value);
    } else {
      varint((BigInt(field) << 3n) | 2n);
      varint(BigInt(value.length));
      for (const byte of value) bytes.push(byte);
    }
  }
  return Buffer.from(bytes);
}

const BLOCK = 512;
const SIZES = ["77777777777", "00000000000", "99999999999", "-0000000001", "00000001000", "           "];

/** A tar of these files; with `random` one header is not as it should be. */
export function pack(parts: readonly Part[], random?: Random): Buffer {
  const bad = random?.below(parts.length + 1);
  const blocks: Buffer[] = [];
  for (const [index, { name, content, type, link }] of parts.entries()) {
    const header = headerOf(name, content.length, type, link);
    if (random && index === bad) spoil(header, random);
    blocks.push(header, content);
    const rest = content.length % BLOCK;
    if (rest > 0) blocks.push(Buffer.alloc(BLOCK - rest));
  }
  blocks.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(blocks);
}

function headerOf(name: string, size: number, type: string, link: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write(name.slice(0, 99), 0);
  header.write("0000644\u00000000000\u00000000000\u0000", 100, "latin1");
  header.write(`${size.toString(8).padStart(11, "0")}\u000000000000000\u0000`, 124, "latin1");
  header.write(type, 156, "latin1");
  header.write(link.slice(0, 99), 157);
  header.write("ustar\u000000", 257, "latin1");
  return summed(header);
}

function summed(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\u0000 `, 148, "latin1");
  return header;
}

/** Another size, or anything else, with a checksum that holds or does not. */
function spoil(header: Buffer, random: Random): void {
  if (random.chance(0.5)) header.write(random.pick(SIZES), 124, "latin1");
  else if (random.chance(0.3)) {
    header[124] = 0x80;
    header.writeBigUInt64BE(random.pick(NUMBERS), 128);
  } else header[random.below(BLOCK)] = random.below(256);
  if (random.chance(0.9)) summed(header);
}

/** Archives with more of something than any that is made in earnest: each is read within its limits, or refused. */
export const MONSTERS: Readonly<Record<string, () => Buffer>> = {
  "a million files in the archive": () => {
    const header = headerOf("n0000000", 0, "0", "");
    const tar = Buffer.alloc((1_000_000 + 2) * BLOCK);
    for (let i = 0; i < 1_000_000; i++) {
      header.write(String(i).padStart(7, "0"), 1, "latin1");
      summed(header).copy(tar, i * BLOCK);
    }
    return tar;
  },
  "a million runs of pages": () =>
    withImage(
      "pagemap-1.img",
      many(1_000_000, (i) => ({ 1: i * 0x2000, 2: 1, 4: 4 }), { 1: 1 }),
    ),
  "a million processes": () =>
    withImage(
      "pstree.img",
      many(1_000_000, (i) => ({ 1: i + 1, 2: i, 3: 1, 4: 1, 5: i + 1 })),
    ),
  "a million open files": () =>
    withImage(
      "files.img",
      many(1_000_000, (i) => ({ 1: 1, 2: i + 1, 3: message({ 1: i + 1, 6: "/x" }) })),
    ),
  "a million descriptors": () =>
    withImage(
      "fdinfo-1.img",
      many(1_000_000, (i) => ({ 1: 2, 2: 0, 3: 1, 4: i })),
    ),
  "a hundred thousand mappings": () => {
    const vma = (i: number) =>
      message({ 1: 0x10000 + i * 0x2000, 2: 0x11000 + i * 0x2000, 5: 3, 6: 2, 7: 1 });
    const vmas = Array.from({ length: 100_000 }, (_, i) => vma(i));
    const record = message({ 13: [6, 4096], 14: vmas });
    return withImage("mm-1.img", framedRecords([record]));
  },
  "a chain of ten thousand processes": () => {
    const parts = goodArchives()[0]!.filter(({ name }) => !/pstree|core-/.test(name));
    const count = 10_000;
    const core = goodArchives()[0]!.find(({ name }) => name === "checkpoint/core-3.img")!.content;
    const cores = Array.from({ length: count }, (_, i) => ({
      ...{ name: `checkpoint/core-${i + 1}.img`, content: core, type: "0", link: "" },
    }));
    const pstree = many(count, (i) => ({ 1: i + 1, 2: i, 3: 1, 4: 1, 5: i + 1 }));
    return pack([...parts, ...cores, part("pstree.img", pstree, "pstree")]);
  },
  "gzip of a gibibyte of zeros in a small file": () => {
    const bomb = gzipSync(gzipSync(Buffer.alloc(2 ** 26)));
    return pack(
      goodArchives()[0]!.map((entry) =>
        entry.name === "rootfs-diff.tar" ? { ...entry, content: bomb } : entry,
      ),
    );
  },
  "a list in a list in a list": () =>
    pack(
      goodArchives()[0]!.map((entry) =>
        entry.name === "spec.dump" ? { ...entry, content: Buffer.from("[".repeat(4_000_000)) } : entry,
      ),
    ),
};

function framedRecords(records: readonly Uint8Array[]): Buffer {
  return framed(Buffer.alloc(0), records);
}

function many(
  count: number,
  record: (i: number) => Parameters<typeof message>[0],
  head?: Record<number, number>,
): Buffer {
  const records = Array.from({ length: count }, (_, i) => message(record(i)));
  return framedRecords(head ? [message(head), ...records] : records);
}

const part = (name: string, records: Buffer, like: string): Part => {
  const original = goodArchives()[0]!.find((entry) => entry.name.startsWith(`checkpoint/${like}`))!;
  const magic = original.content.subarray(0, 8);
  return { name: `checkpoint/${name}`, content: Buffer.concat([magic, records]), type: "0", link: "" };
};

function withImage(name: string, records: Buffer): Buffer {
  const instead = part(name, records, name);
  return pack(goodArchives()[0]!.map((entry) => (entry.name === instead.name ? instead : entry)));
}
