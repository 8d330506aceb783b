import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type CriuOption,
  criuConfig,
  dumpFlags,
  formatCriuOptions,
  neededAtRestore,
  parseCriuOptions,
  readCriuConfig,
  restoreFlags,
} from "./criu-options.ts";

const options = (text: string): readonly CriuOption[] => {
  const parsed = parseCriuOptions(text);
  if (parsed.type === "refused") throw new Error(parsed.why);
  return parsed.options;
};

describe("options of CRIU's in an annotation", () => {
  it.each([
    ["", ""],
    [" , ", ""],
    ["file-locks", "file-locks"],
    ["file-locks, tcp-close", "tcp-close file-locks"],
    ["file-locks\n\tfile-locks,ext-unix-sk", "file-locks ext-unix-sk"],
    ["ghost-limit=4096", "ghost-limit=4096"],
    ["ghost-limit=8K skip-in-flight", "skip-in-flight ghost-limit=8192"],
    ["ghost-limit=64Mi,tcp-established", "tcp-established ghost-limit=67108864"],
    ["ghost-limit=1G", "ghost-limit=1073741824"],
  ])("%j are %j", (text, formatted) => {
    expect(formatCriuOptions(options(text))).toBe(formatted);
  });

  it.each([
    ["shell-job", '"shell-job" is not allowed'],
    ["file-locks,link-remap", '"link-remap" is not allowed'],
    ["--file-locks", '"--file-locks" is not allowed'],
    ["constructor", '"constructor" is not allowed'],
    ["external=mnt[]", '"external=mnt[]" is not allowed'],
    ["file-locks=yes", 'file-locks has no value, and not "yes"'],
    ["ghost-limit", '"ghost-limit" gives no size'],
    ["ghost-limit=", '"ghost-limit=" gives no size'],
    ["ghost-limit=0", "gives no size"],
    ["ghost-limit=-1", "gives no size"],
    ["ghost-limit=1e3", "gives no size"],
    ["ghost-limit=2Gi", "gives no size up to 1Gi"],
    ["ghost-limit=1=2", "gives no size"],
    ["ghost-limit=1M ghost-limit=2M", "ghost-limit stands there twice"],
    ["tcp-established tcp-close", "tcp-established and tcp-close exclude each other"],
    ["x".repeat(600), "more than 512 characters"],
  ])("%j is refused, with what is allowed", (text, why) => {
    const parsed = parseCriuOptions(text);
    expect(parsed).toMatchObject({ type: "refused", why: expect.stringContaining(why) });
    expect(parsed).toMatchObject({
      why: expect.stringContaining(
        "allowed are tcp-established, tcp-close, skip-in-flight, file-locks, ext-unix-sk, ghost-limit=<size>",
      ),
    });
  });

  it("become flags of the runtime where it has any, and else lines of a file", () => {
    const all = options("tcp-close file-locks ext-unix-sk skip-in-flight ghost-limit=2M");
    expect(dumpFlags(all)).toEqual(["--tcp-skip-in-flight", "--file-locks", "--ext-unix-sk"]);
    expect(restoreFlags(all)).toEqual(["--file-locks", "--ext-unix-sk"]);
    expect(criuConfig(all).split("\n")).toEqual([
      "# options: tcp-close skip-in-flight file-locks ext-unix-sk ghost-limit=2097152",
      "# --tcp-skip-in-flight",
      "# --file-locks",
      "# --ext-unix-sk",
      "tcp-close",
      "ghost-limit 2097152",
      "",
    ]);
    expect(formatCriuOptions(neededAtRestore(all))).toBe("tcp-close file-locks ext-unix-sk");
  });

  it("are found again in the file that was made of them, and in no other", () => {
    for (const text of ["", "tcp-close", "file-locks ghost-limit=5"]) {
      expect(readCriuConfig(criuConfig(options(text)))).toEqual(options(text));
    }
    for (const text of ["", "tcp-close\n", "# options: shell-job\n", "x\n# options: file-locks\n"]) {
      expect(readCriuConfig(text)).toBeUndefined();
    }
  });

  const word = fc.oneof(
    fc.constantFrom("file-locks", "tcp-close", "tcp-established", "ext-unix-sk", "skip-in-flight"),
    fc.nat(2 ** 31).map((n) => `ghost-limit=${n}`),
    fc.string({ unit: "binary", maxLength: 20 }),
  );
  const text = fc
    .array(fc.tuple(word, fc.constantFrom(" ", ",", "\n", ", ")))
    .map((words) => words.flat().join(""));

  it("whatever anybody writes, nothing but what is known reaches CRIU", () => {
    fc.assert(
      fc.property(text, (written) => {
        const parsed = parseCriuOptions(written);
        if (parsed.type === "refused") return;
        expect(options(formatCriuOptions(parsed.options))).toEqual(parsed.options);
        expect(readCriuConfig(criuConfig(parsed.options))).toEqual(parsed.options);
        const lines = criuConfig(parsed.options).split("\n");
        const known =
          /^(?:# options: [a-z0-9= -]*|# --(?:tcp-established|tcp-skip-in-flight|file-locks|ext-unix-sk)|tcp-close|ghost-limit [1-9][0-9]*|)$/;
        for (const line of lines) expect(line).toMatch(known);
      }),
      { numRuns: 2000 },
    );
  });
});
