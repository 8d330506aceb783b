import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { facts } from "../../api/facts.ts";
import { goArchitecture } from "../../oci/image.ts";
import { cpuFeaturesIn, hostFacts, pageSizeIn } from "./host.ts";

const x86 = (...flags: string[]) =>
  flags.map((line, i) => `processor\t: ${i}\nflags\t\t: ${line}\nbugs\t\t: avx\n`).join("\n");

describe("what a processor can do", () => {
  it("is what programs use of it, sorted, without what is the kernel's", () => {
    expect(cpuFeaturesIn(x86("sse2 avx smep rep_good avx512f invpcid erms"), "amd64")).toBe(
      "avx avx512f sse2",
    );
  });

  it("is what all of the machine's can", () => {
    expect(cpuFeaturesIn(x86("sse2 avx avx2", "avx sse2"), "amd64")).toBe("avx sse2");
  });

  it("is every feature of arm64", () => {
    const cpuinfo = "processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n";
    expect(cpuFeaturesIn(cpuinfo, "arm64")).toBe("asimd fp sve");
  });

  it.each([
    ["riscv64", "isa\t: rv64imafdc\n"],
    ["amd64", ""],
    [undefined, x86("avx")],
  ])("is not known of %s where /proc/cpuinfo does not say it as expected", (architecture, cpuinfo) => {
    expect(cpuFeaturesIn(cpuinfo, architecture)).toBeUndefined();
  });
});

it("a page's size is not known where a process was not told it, or only half", () => {
  expect(pageSizeIn(Buffer.alloc(0))).toBeUndefined();
  expect(pageSizeIn(Buffer.alloc(15, 6))).toBeUndefined();
  expect(pageSizeIn(Buffer.alloc(64))).toBeUndefined();
});

it("of this machine is what its own programs say", async () => {
  const run = promisify(execFile);
  const [pages, mounts, cpuinfo] = await Promise.all([
    run("getconf", ["PAGESIZE"]),
    readFile("/proc/mounts", "utf8"),
    readFile("/proc/cpuinfo", "utf8"),
  ]);
  const here = await hostFacts(goArchitecture());
  expect(here).toMatchObject({
    architecture: goArchitecture(),
    pageSize: Number(pages.stdout),
    kernel: release(),
    cgroup: /^\S+ \/sys\/fs\/cgroup cgroup2 /m.test(mounts) ? "v2" : "v1",
  });
  const words = new Set(cpuinfo.split(/\s+/));
  const features = here.cpuFeatures?.split(" ") ?? [];
  expect(features.filter((feature) => !words.has(feature))).toEqual([]);
  expect(features.length).toBeGreaterThan(5);
  expect(facts.safeParse(here).success).toBe(true);
});
