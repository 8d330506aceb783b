import { Writable } from "node:stream";
import { expect, it } from "vitest";
import { progressTo } from "../cluster/progress.ts";
import { columns, megabytes, narrow, Screen, seconds, thousands, wrap } from "./screen.ts";

it("a text is broken at blanks, and a word that is too long has a line of its own", () => {
  expect(wrap("the quick brown  fox", 9)).toEqual(["the quick", "brown fox"]);
  expect(wrap("see https://example.com/long now", 8)).toEqual(["see", "https://example.com/long", "now"]);
  expect(wrap("", 9)).toEqual([]);
});

it("columns are as wide as their widest cell, without blanks at the end", () => {
  expect(
    columns([
      ["a", "b"],
      ["longer", ""],
    ]),
  ).toEqual(["a        b", "longer"]);
});

it("figures are as people read them", () => {
  expect([thousands(100_000), seconds(2516), megabytes(17_549_312)]).toEqual([
    "100,000",
    "2.52 s",
    "17.5 MB",
  ]);
});

it("what does not go to a terminal has no escape codes and no two empty lines in a row", () => {
  let written = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      written += chunk;
      done();
    },
  }) as unknown as NodeJS.WriteStream;
  const screen = new Screen(progressTo(stream), stream);
  screen.heading("One");
  screen.command("kubectl get pods", "NAME\nredis\n");
  screen.heading("Two");
  expect(written).toBe("1. One\n\n  $ kubectl get pods\n  NAME\n  redis\n\n2. Two\n");
});

it("a table that is too wide loses its last columns, and nothing is cut in two", () => {
  const table = "NAME    READY   LAST SEEN   AGE\nredis   True                3s\n";
  expect(narrow(table, 31)).toBe(table);
  expect(narrow(table, 30)).toBe("NAME    READY   LAST SEEN\nredis   True");
  expect(narrow(table, 20)).toBe("NAME    READY\nredis   True");
  expect(narrow(table, 3)).toBe("NAME\nredis");
});
