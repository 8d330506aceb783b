import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { testIo } from "../testing/io.ts";
import { describe as line, startProgress } from "./progress.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});
const now = () => Date.now();
const pass = (ms: number) => vi.advanceTimersByTime(ms);

describe("progress", () => {
  it("is not shown for what takes less than two seconds", () => {
    const io = testIo({ tty: true });
    const progress = startProgress(io, "waiting", { now });
    pass(1900);
    progress[Symbol.dispose]();
    pass(5000);
    expect(io.written.err).toBe("");
  });

  it("keeps one line up to date on a terminal, within its width, and takes it away", () => {
    const io = testIo({ tty: true, columns: 30 });
    const progress = startProgress(io, "waiting for something with a long name", { now });
    pass(3000);
    progress[Symbol.dispose]();
    const drawn = io.written.err.split("\r\x1b[2K").slice(1);
    expect(drawn.length).toBeGreaterThan(5);
    expect(drawn[0]).toMatch(/^. waiting for something wi…$/);
    expect(drawn.at(-1)).toBe("");
  });

  it("lets notes stand above it", () => {
    const io = testIo({ tty: true });
    const progress = startProgress(io, "waiting", { now });
    pass(2500);
    progress.note("Pending\x1b");
    pass(200);
    progress[Symbol.dispose]();
    expect(io.written.err).toContain("\r\x1b[2KPending\\x1b\n\r\x1b[2K");
  });

  it("is a line now and then where there is no terminal", () => {
    const io = testIo();
    const progress = startProgress(io, "waiting", { now });
    pass(2500);
    progress.update({ text: "restoring" });
    pass(8000);
    progress.update({ text: "restoring" });
    pass(5000);
    progress[Symbol.dispose]();
    expect(io.written.err).toBe("waiting  2s\nwaiting: restoring  3s\nwaiting: restoring  13s\n");
  });
});

describe("the line", () => {
  it("has a bar, a rate and what is left where the end is known", () => {
    const MiB = 1024 ** 2;
    expect(line("downloading", { done: 25 * MiB, total: 100 * MiB }, 5000)).toBe(
      "downloading  [######------------------]   25% of 100 MiB  5.0 MiB/s  15s left",
    );
    expect(line("reading", { done: 25 * MiB }, 5000)).toBe("reading  25.0 MiB  5.0 MiB/s");
    expect(line("done", { done: 2, total: 1 }, 5000)).toContain("[########################]  100% of 1 B");
  });
});
