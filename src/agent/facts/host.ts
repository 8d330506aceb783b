import { readFile, statfs } from "node:fs/promises";
import { endianness, release } from "node:os";
import type { Facts } from "../../api/facts.ts";
import { missing } from "../../store/files.ts";

/**
 * What a program may use of an x86 processor, by its names in /proc/cpuinfo: the instructions that CRIU's
 * `--cpu-cap=ins` compares (criu/arch/x86/cpu.c, x86_ins_capability_mask) and those of its `fpu`. Left out are those
 * of its bits that are no instructions (rep_good, erms, hle, tme) or the kernel's alone (mwait); added those that it
 * has no bit for yet.
 */
const X86_FEATURES = new Set(
  [
    "fpu tsc cx8 sep cmov clflush mmx fxsr sse sse2 syscall mmxext rdtscp 3dnowext 3dnow nopl",
    "pni pclmulqdq ssse3 cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand",
    "abm sse4a misalignsse 3dnowprefetch xop fma4 tbm",
    "fsgsbase bmi1 avx2 bmi2 rtm mpx avx512f avx512dq rdseed adx clflushopt avx512pf avx512er avx512cd sha_ni",
    "avx512bw avx512vl xsaveopt xsavec xgetbv1 xsaves",
    "avx512vbmi avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq rdpid clzero",
    "avx512_4vnniw avx512_4fmaps",
    "fma lahf_lm clwb pku ospke avx512ifma avx512_bf16 avx512_fp16 avx512_vp2intersect avx_vnni avx_ifma",
    "amx_tile amx_int8 amx_bf16 amx_fp16 cmpccxadd movdiri movdir64b",
    "enqcmd serialize waitpkg cldemote sha512 sm3 sm4",
  ].flatMap((line) => line.split(" ")),
);

/** The field of /proc/cpuinfo that names features, and which of them count; all of arm64's are HWCAPs for programs. */
const FIELDS: Readonly<Record<string, { field: RegExp; counts(feature: string): boolean }>> = {
  amd64: { field: /^flags\s*:(.*)$/gm, counts: (feature) => X86_FEATURES.has(feature) },
  arm64: { field: /^Features\s*:(.*)$/gm, counts: () => true },
};

/**
 * What programs may use on every processor of the machine, sorted, with spaces between; undefined for an architecture
 * of which that is not known here. `architecture` is GOARCH.
 */
export function cpuFeaturesIn(cpuinfo: string, architecture: string | undefined): string | undefined {
  const known = FIELDS[architecture ?? ""];
  const lists = [...cpuinfo.matchAll(known?.field ?? /$^/g)].map(([, line = ""]) => line.trim().split(/\s+/));
  const [first, ...others] = lists.map((list) => new Set(list));
  if (known === undefined || first === undefined) return undefined;
  const common = [...first].filter((feature) => others.every((list) => list.has(feature)));
  const counted = common.filter((feature) => known.counts(feature));
  return counted.sort().join(" ");
}

/** Source: getauxval(3). */
const AT_PAGESZ = 6n;

/** Bytes of a page, by a process's auxiliary vector: pairs of words of 64 bits, type and value. */
export function pageSizeIn(auxv: Buffer): number | undefined {
  const word = (at: number) => (endianness() === "LE" ? auxv.readBigUInt64LE(at) : auxv.readBigUInt64BE(at));
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (word(at) === AT_PAGESZ) return Number(word(at + 8));
  }
  return undefined;
}

/** Source: linux/magic.h. */
const CGROUP2_SUPER_MAGIC = 0x63677270;

/** As runc decides it (opencontainers/cgroups, IsCgroup2UnifiedMode): a v2 that is only there beside v1 is v1. */
async function cgroupVersion(): Promise<Facts["cgroup"]> {
  const found = await statfs("/sys/fs/cgroup").catch(missing);
  if (found === undefined) return undefined;
  return found.type === CGROUP2_SUPER_MAGIC ? "v2" : "v1";
}

/** What any process may see of the machine that it runs on. `architecture` is GOARCH. */
export async function hostFacts(architecture: string | undefined): Promise<Facts> {
  const [cpuinfo, auxv, cgroup] = await Promise.all([
    readFile("/proc/cpuinfo", "utf8").catch(missing),
    readFile("/proc/self/auxv").catch(missing),
    cgroupVersion(),
  ]);
  return {
    architecture,
    pageSize: auxv && pageSizeIn(auxv),
    cpuFeatures: cpuinfo === undefined ? undefined : cpuFeaturesIn(cpuinfo, architecture),
    kernel: release(),
    cgroup,
  };
}
