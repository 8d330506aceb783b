import { type Command, InvalidArgumentError } from "commander";
import type { MappingKind } from "../../archive/criu/mm.ts";
import type { Pattern } from "../../archive/memory-search.ts";
import { openArchive } from "../archive/open.ts";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { UsageError } from "../errors.ts";
import { several } from "../flags.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { type RegistryFlags, registryFlagsOf, withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

interface MemFlags extends RegistryFlags {
  pid?: number;
  search?: string;
  regex?: string;
  ignoreCase?: boolean;
  context: number;
  vma?: string[];
  range?: { start: bigint; end: bigint };
  hex?: boolean;
  dump?: string;
  force?: boolean;
  output: Format;
}

/** All of `MappingKind`. */
const KINDS = [
  ...["anonymous", "heap", "stack", "file", "memfd", "shared", "sysv"],
  ...["vdso", "vvar", "vsyscall", "aio", "packet"],
];

export function registerMem(program: Command, io: Io): void {
  const command = program
    .command("mem")
    .description("the memory in a checkpoint: how much, whose, and what is in it")
    .argument("<checkpoint>", "a file, checkpoint/NAME, or an image by digest")
    .option("-p, --pid <pid>", "one process: its mappings, or what is searched or dumped", numberOf)
    .option("-s, --search <text>", "find this text")
    .option("-r, --regex <expression>", "find what this expression of JavaScript's matches, byte by byte")
    .option("-i, --ignore-case", "with --regex: upper and lower case are one")
    .option(
      "-c, --context <bytes>",
      "show each match in a hex dump with so many bytes around it",
      numberOf,
      0,
    )
    .option("--vma <kinds>", `only mappings of these kinds: ${KINDS.join(", ")}`, several)
    .option("--range <from-to>", "only these addresses, hexadecimal, the second not included", rangeOf)
    .option("--hex", "with --pid: print it as a hex dump")
    .option("--dump <file>", "with --pid: write it to a file as it is (- is stdout)")
    .option("--force", "with --dump: replace a file that is there")
    .addOption(outputOption());
  completes(command, { args: [["checkpoint", "file"]] });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      `
Whoever reads memory reads the secrets in it: a file written by --dump is for its owner only.
Exit code 3: nothing was found.
${examples([
  ["kcr mem checkpoint.tar", "the processes and their memory"],
  ["kcr mem checkpoint.tar -p 1", "the mappings of one process"],
  [
    "kcr mem checkpoint.tar -r 'password=\\S+' -c 32 --vma heap,anonymous",
    "look for something, and around it",
  ],
  ["kcr mem checkpoint.tar -p 1 --range 7ffd1000-7ffd2000 --hex", "look at some of it"],
  ["kcr mem checkpoint.tar -p 1 --vma heap --dump heap.bin", "all that the heap held"],
])}`,
    )
    .action(async (checkpoint: string, flags: MemFlags) => {
      const pattern = patternOf(flags);
      const { pid, range, dump, force = false, output } = flags;
      const selection = { kinds: kindsOf(flags.vma), range };
      if ((flags.hex || dump !== undefined) && pid === undefined) {
        throw new UsageError("which process? Name it by --pid; kcr mem lists them");
      }
      if (flags.hex && dump !== undefined) throw new UsageError("--hex prints, --dump writes: choose one");
      if (dump === "-" && io.terminal.out) {
        throw new UsageError("memory is nothing for a terminal: send it elsewhere, or use --hex");
      }
      await using archive = await openArchive(io, checkpoint, {
        ...registryFlagsOf(flags),
        ...clusterFlagsOf(command),
      });
      if (pattern !== undefined) {
        if (flags.hex || dump !== undefined) throw new UsageError("search, or dump: choose one");
        const { search } = await import("../memory/search.ts");
        const format = output === "json" ? "json" : "table";
        return await search(io, archive, { ...selection, pid, pattern, contextBytes: flags.context, format });
      }
      if (pid !== undefined && (flags.hex || dump !== undefined)) {
        const { dumpTo, hexdump } = await import("../memory/dump.ts");
        if (dump === undefined) return await hexdump(io, archive, { ...selection, pid });
        return await dumpTo(io, archive, { file: dump, force }, { ...selection, pid });
      }
      const { mappingTable, processTable } = await import("../memory/tables.ts");
      if (pid === undefined) await show(io, output, await processTable(archive));
      else await show(io, output, await mappingTable(archive, pid, selection));
    });
}

function patternOf({ search, regex, ignoreCase }: MemFlags): Pattern | undefined {
  if (search !== undefined && regex !== undefined) throw new UsageError("--search or --regex: choose one");
  if (search === "" || regex === "") throw new UsageError("nothing to look for");
  if (search !== undefined) return { type: "text", text: search };
  return regex === undefined ? undefined : { type: "regex", source: regex, ignoreCase };
}

function kindsOf(names: readonly string[] | undefined): ReadonlySet<MappingKind> | undefined {
  const strange = names?.find((name) => !KINDS.includes(name));
  if (strange !== undefined) throw new UsageError(`--vma ${strange}: it is one of ${KINDS.join(", ")}`);
  return names && new Set(names as MappingKind[]);
}

function numberOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("not a number.");
  return Number(text);
}

function rangeOf(text: string): { start: bigint; end: bigint } {
  const [, from, to] = /^(?:0x)?([0-9a-f]{1,16})-(?:0x)?([0-9a-f]{1,16})$/i.exec(text) ?? [];
  const start = BigInt(`0x${from ?? 0}`);
  const end = BigInt(`0x${to ?? 0}`);
  if (end <= start) throw new InvalidArgumentError("write two addresses: 7ffd1000-7ffd2000.");
  return { start, end };
}
