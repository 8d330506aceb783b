import { describe, expect, it } from "vitest";
import { EXIT } from "./exit.ts";
import { createProgram, programName } from "./program.ts";
import { kcr, testIo } from "./testing/io.ts";

describe("the program", () => {
  it.each([
    ["/usr/local/bin/kubectl-kcr", "kubectl kcr"],
    ["dist/kubectl-kcr.mjs", "kubectl kcr"],
    ["src/cli/main.ts", "kcr"],
    ["/usr/bin/kcr", "kcr"],
    [undefined, "kcr"],
  ])("called as %s is called %s", (file, name) => {
    expect(programName(file)).toBe(name);
  });

  it("without a word of what it is to do shows its commands", async () => {
    const { exit, out } = await kcr([]);
    expect(exit).toBe(EXIT.done);
    expect(out).toContain("version");
  });

  it("says what it does not understand on stderr, and ends with 2", async () => {
    for (const args of [
      ["nosuch"],
      ["version", "--nosuch"],
      ["version", "-o", "xml"],
      ["version", "extra"],
    ]) {
      const { exit, out, err } = await kcr(args);
      expect([args, exit, out]).toEqual([args, EXIT.usage, ""]);
      expect(err).toMatch(/^error: .*\n {2}kcr.* --help/);
    }
  });

  it("takes the cluster's flags before the command and behind it", async () => {
    for (const args of [
      ["--kubeconfig", "/nonexistent", "version"],
      ["version", "--kubeconfig", "/nonexistent"],
    ]) {
      const { exit, err } = await kcr(args);
      expect([exit, err]).toEqual([
        EXIT.failed,
        expect.stringMatching(
          /^error: no cluster by the kubeconfig: .*\/nonexistent.* \(KubeconfigUnusable\)\n {2}\S/,
        ),
      ]);
    }
  });

  it("takes no selector that a script has forgotten to set for everything there is", async () => {
    for (const args of [
      ["delete", "-l", "", "--yes"],
      ["checkpoint", "-l", " "],
    ]) {
      const { exit, err } = await kcr([...args, "--kubeconfig", "/nonexistent"]);
      expect([exit, err]).toEqual([EXIT.usage, expect.stringContaining("labels are wanted")]);
    }
  });

  it("ends with 130 when it was interrupted, and says nothing more", async () => {
    const io = testIo({ signal: AbortSignal.abort(new Error("interrupted")) });
    expect(await kcr(["version", "--kubeconfig", "/nonexistent"], io)).toEqual({
      exit: EXIT.interrupted,
      out: "",
      err: "",
    });
  });

  it("has help with examples for every command", () => {
    const commands = createProgram(testIo()).commands.filter((command) => !command.name().startsWith("__"));
    expect(commands.length).toBeGreaterThan(0);
    for (const command of commands) {
      let help = "";
      command
        .configureOutput({
          writeOut: (text) => {
            help += text;
          },
        })
        .outputHelp();
      expect(help).toContain("\nExamples:\n");
      expect(command.description()).toMatch(/^\S.*[^.]$/);
    }
  });
});

describe("version", () => {
  it("of this program alone asks no cluster", async () => {
    const { exit, out } = await kcr(["version", "--client", "-o", "json"]);
    expect([exit, Object.keys(JSON.parse(out))]).toEqual([EXIT.done, ["client"]]);
  });
});
