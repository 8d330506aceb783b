import { describe, expect, it } from "vitest";
import { createProgram } from "../program.ts";
import { kcr, testIo } from "../testing/io.ts";
import { planFor } from "./plan.ts";

const plan = (...words: string[]) => planFor(createProgram(testIo()), words);
const texts = (...words: string[]) => {
  const found = plan(...words);
  return found.type === "words" ? found.words.map(({ text }) => text) : [];
};

describe("completion", () => {
  it("offers commands, and no hidden ones", () => {
    expect(texts("")).toEqual(expect.arrayContaining(["status", "checkpoint", "restore"]));
    expect(texts("").filter((text) => text.startsWith("__"))).toEqual([]);
    expect(texts("schedule", "")).toEqual(["suspend", "resume"]);
    expect(texts("-n", "shop", "schedule", "")).toEqual(["suspend", "resume"]);
  });

  it("offers flags of the command, and those of every command", () => {
    expect(texts("checkpoint", "-")).toEqual(
      expect.arrayContaining(["--container", "--no-wait", "--namespace"]),
    );
    expect(texts("checkpoint", "--", "-")).toEqual([]);
  });

  it("offers the choices of a flag, behind a blank and behind =", () => {
    expect(texts("status", "-o", "")).toEqual(["table", "wide", "json", "yaml", "name"]);
    expect(texts("status", "--output=")).toEqual(["table", "wide", "json", "yaml", "name"]);
    expect(texts("completion", "")).toEqual(["bash", "zsh", "fish", "kubectl"]);
  });

  it("knows what an argument and a flag's value may be", () => {
    expect(plan("restore", "")).toMatchObject({ type: "names", sources: ["checkpoint"] });
    expect(plan("restore", "x", "--into", "")).toMatchObject({ type: "names", sources: ["pod"] });
    expect(plan("restore", "x", "")).toEqual({ type: "words", words: [] });
    expect(plan("checkpoint", "-n", "shop", "deploy/x", "-c", "")).toEqual({
      type: "names",
      sources: ["container"],
      flags: { namespace: "shop" },
      args: ["deploy/x"],
    });
    expect(plan("checkpoint", "deploy/x", "")).toMatchObject({ sources: ["pod", "workload"] });
    expect(plan("history", "")).toMatchObject({ sources: ["workload", "pod", "schedule"] });
    expect(plan("status", "--namespace=")).toMatchObject({ sources: ["namespace"] });
    expect(plan("status", "--kubeconfig", "")).toEqual({ type: "files" });
  });

  it("answers in cobra's way", async () => {
    const { out } = await kcr(["__complete", "status", "--output=j"]);
    expect(out).toBe("--output=json\n:4\n");
    expect((await kcr(["__complete", "sta"])).out).toMatch(/^status\t\S.*\n:4\n$/);
    // Nobody can be asked: the shell is told, and the person not.
    const {
      out: failed,
      err,
      exit,
    } = await kcr(["__complete", "restore", "--kubeconfig", "/nonexistent", ""]);
    expect([failed, err, exit]).toEqual([":1\n", "", 0]);
  });
});
