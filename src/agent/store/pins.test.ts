import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Layout } from "../../store/layout.ts";
import { type Candidate, PLAN_VERSION, type Plan } from "../../store/plan.ts";
import { type RunState, STATE, STATE_VERSION } from "../../store/runs.ts";
import { Pins } from "./pins.ts";

let root: string;
let layout: Layout;
let time: number;
let pins: Pins;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kcr-pins-"));
  layout = new Layout(root);
  time = Date.parse("2026-01-01T12:00:00Z");
  pins = new Pins(layout, () => new Date(time));
});
afterEach(() => rm(root, { recursive: true }));

const key = { podUID: "pod-1", container: "app" };
const copy = (digit: string) => digit.repeat(64);
const candidate = (digit: string): Candidate => ({
  checkpoint: "a",
  uid: "u",
  copy: copy(digit),
  takenTime: "2026-01-01T12:00:00Z",
  containerID: "c",
});
async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}
const read = async () => [...(await pins.read())].sort();

test("what a plan names, armed or not, and what a container runs from", async () => {
  const plan: Plan = {
    version: PLAN_VERSION,
    ...key,
    namespace: "shop",
    pod: "cache",
    run: "c",
    onFailure: true,
    fallback: "FreshStart",
    onSpecChange: "Fresh",
    volumes: "Capture",
    maxAttempts: 3,
    stableSeconds: 30,
    perPodEnv: [],
    sharedVolumes: [],
    candidates: [candidate("1"), candidate("2")],
    armed: { id: "r", candidate: candidate("3") },
  };
  const state: RunState = {
    version: STATE_VERSION,
    chain: ["c"],
    restoredFrom: candidate("4"),
    crashes: {},
    passedOver: [],
    used: [],
    before: {
      version: STATE_VERSION,
      chain: ["b"],
      restoredFrom: candidate("5"),
      crashes: {},
      passedOver: [],
      used: [],
    },
  };
  await put(layout.plan(key), JSON.stringify(plan));
  await put(join(layout.run(key), STATE), JSON.stringify(state));
  expect(await read()).toEqual(["1", "2", "3", "4", "5"].map(copy));
});

test("nothing where there is nothing, or nothing that can be read", async () => {
  expect(await read()).toEqual([]);
  await put(layout.plan(key), "{");
  await put(join(layout.runs, "no name!", "app", STATE), "{}");
  await put(join(layout.run(key), STATE), "[]");
  expect(await read()).toEqual([]);
});

test("whatever a plan names, or what a container runs from, that an agent or handler of a later version has written", async () => {
  const later = (...copies: string[]) => JSON.stringify({ version: 99, any: copies.map((of) => ({ of })) });
  await put(layout.plan(key), later(copy("1"), copy("2")));
  await put(join(layout.run(key), STATE), later(copy("3")));
  expect(await read()).toEqual(["1", "2", "3"].map(copy));
});

test("what was fetched, until a plan should have named it", async () => {
  pins.hold(copy("5"));
  time += 599_000;
  expect(await read()).toEqual([copy("5")]);
  time += 2_000;
  expect(await read()).toEqual([]);
});
