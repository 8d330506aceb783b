import { describe, expect, it } from "vitest";
import { print } from "../io.ts";
import { testIo } from "../testing/io.ts";
import { repeat } from "./repeat.ts";

describe("what is shown again and again", () => {
  const texts = ["one", "one", "two"];
  async function shown(tty: boolean): Promise<string> {
    const enough = new AbortController();
    const io = testIo({ tty, signal: enough.signal });
    let times = 0;
    const once = async (to: typeof io | Parameters<typeof print>[0]) => {
      if (times === texts.length) enough.abort();
      await print(to, texts[times++] ?? "");
      to.stderr.write("said\n");
    };
    await expect(repeat(io, once, 1)).rejects.toThrow();
    return io.written.out;
  }

  it("stands in one place on a terminal", async () => {
    const first = "\x1b[2J\x1b[Hone\x1b[K\nsaid\x1b[K\n\x1b[J";
    expect(await shown(true)).toMatch(first);
    expect((await shown(true)).split("\x1b[2J")).toHaveLength(2);
    expect(await shown(true)).toContain("\x1b[Htwo\x1b[K\n");
  });

  it("is written elsewhere only when it has changed", async () => {
    expect(await shown(false)).toMatch(/^one\nsaid\ntwo\nsaid\n/);
  });
});
