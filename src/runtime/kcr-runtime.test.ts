import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compileStatic } from "../../scripts/compile.ts";
import { criuConfig, parseCriuOptions } from "../store/criu-options.ts";
import { parseLast } from "../store/runs.ts";
import { toolsOf } from "./parts/tools.ts";

/** The C program alone: without runtime.mjs beside it, as on a node where Node is broken or not there. */

const ID = "c0ffee".repeat(10);
const UID = "5d9f3e3b-0000-4000-8000-000000000001";
const globals = ["--root", "/run/containerd/runc/k8s.io", "--log-format", "json"];

let home: string;
const at = (...parts: string[]): string => join(home, ...parts);
const state = (...parts: string[]): string => at("state", ...parts);

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "kcr-fast-"));
  await compileStatic(join(import.meta.dirname, "kcr-runtime.c"), at("kcr-runtime"));
  // Stands in for the real runtime: says what it was told, and ends with a code of its own.
  writeFileSync(
    at("recorder"),
    '#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done\n[ -z "$CRIU_CONFIG_FILE" ] || echo "config $CRIU_CONFIG_FILE"\nexit 42\n',
    {
      mode: 0o755,
    },
  );
});
afterAll(() => rmSync(home, { recursive: true, force: true }));
beforeEach(() => {
  rmSync(at("state"), { recursive: true, force: true });
  writeFileSync(at("kcr-runtime.conf"), `runtime=${at("recorder")}\nstate=${at("state")}\n`);
});

const call = (...argv: string[]): { status: number | null; told: string[] } => {
  const { status, stdout } = spawnSync(at("kcr-runtime"), argv, { encoding: "utf8" });
  return { status, told: stdout.split("\n").slice(0, -1) };
};
const put = (path: string, text: string): void => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
};
const bundle = (annotations: Record<string, string>, text = JSON.stringify): string => {
  put(at("bundle/config.json"), text({ ociVersion: "1.2.0", annotations }));
  return at("bundle");
};
const ofContainerd = (more: Record<string, string> = {}): Record<string, string> => ({
  "io.kubernetes.cri.container-type": "container",
  "io.kubernetes.cri.container-name": "main",
  "io.kubernetes.cri.sandbox-id": "box",
  "io.kubernetes.cri.sandbox-uid": UID,
  ...more,
});
const create = (from: string): string[] => [...globals, "create", "--bundle", from, "--pid-file", "/p", ID];

describe("a call that is none of ours reaches the runtime as it is, with its exit code", () => {
  it.each([
    [["features"]],
    [["--version"]],
    [[]],
    [[...globals, "state", ID]],
    [[...globals, "start", ID]],
    [[...globals, "events", "--stats", ID]],
    [[...globals, "exec", "--process", "/p.json", "--detach", ID]],
    [[...globals, "--unheard-of", "create", "--bundle", "/none", ID]],
    [["create", "--bundle", "/none", ID]],
    [["create", "--bundle"]],
    [["", "-", "--", "-="]],
  ])("%j", (argv) => {
    expect(call(...argv)).toEqual({ status: 42, told: argv });
  });
});

describe("a create", () => {
  it("of a container without a plan is the runtime's, and is written down", () => {
    const argv = create(bundle(ofContainerd()));
    expect(call(...argv)).toEqual({ status: 42, told: argv });
    expect(parseLast(readFileSync(state("runs", UID, "main", "last"), "utf8"))).toMatchObject({
      id: ID,
      sandbox: "box",
    });
    expect(readlinkSync(state("ids", ID))).toBe(`${UID}/main`);
  });

  it("is understood in whatever way the JSON is laid out, and by CRI-O's annotations too", () => {
    const crio = {
      "io.kubernetes.cri-o.ContainerType": "container",
      "io.kubernetes.container.name": "main",
      "io.kubernetes.pod.uid": UID,
      "io.kubernetes.cri-o.SandboxID": "box",
    };
    call(...create(bundle(crio, (value: unknown) => JSON.stringify(value, undefined, "\t"))));
    expect(parseLast(readFileSync(state("runs", UID, "main", "last"), "utf8"))?.id).toBe(ID);
  });

  it.each([
    ["its UID", { "io.kubernetes.cri.sandbox-uid": "other", "io.kubernetes.cri.container-name": "main" }],
    ["all of it", { ...ofContainerd(), "io.kubernetes.cri.sandbox-uid": "other" }],
  ])("is of no pod that another says it is, in annotations that CRI-O passes on: %s", (_, said) => {
    const crio = {
      "io.kubernetes.cri-o.ContainerType": "container",
      "io.kubernetes.container.name": "main",
      "io.kubernetes.pod.uid": UID,
    };
    call(...create(bundle({ ...said, ...crio })));
    expect(existsSync(state("runs", "other"))).toBe(false);
  });

  it.each([false, true])(
    "is refused where the Node part cannot run and no fresh start is wanted",
    (isThere) => {
      if (isThere) put(at("runtime.mjs"), "");
      put(state("plans", UID, "main.json"), '{ "fallback": "Fail" }');
      expect(call(...create(bundle(ofContainerd())))).toEqual({ status: 1, told: [] });
      expect(existsSync(state("runs"))).toBe(false);
      rmSync(at("runtime.mjs"), { force: true });
    },
  );

  it("is refused once where files of a restore are left that cannot be taken back", () => {
    put(state("plans", UID, "main.json"), "{}");
    put(state("work", ID, "dirty"), "/nowhere");
    const argv = ["--log", at("log.json"), ...create(bundle(ofContainerd()))];
    expect(call(...argv)).toEqual({ status: 1, told: [] });
    expect(JSON.parse(readFileSync(at("log.json"), "utf8"))).toMatchObject({
      level: "error",
      msg: expect.stringContaining("could not be undone"),
    });
    expect(parseLast(readFileSync(state("runs", UID, "main", "last"), "utf8"))?.id).toBe(ID);
  });

  it("with a plan is the runtime's where the Node part cannot run", () => {
    put(state("plans", UID, "main.json"), "{}");
    const argv = create(bundle(ofContainerd()));
    expect(call(...argv)).toEqual({ status: 42, told: argv });
  });

  it("of a pod that waits for a state is the runtime's where the Node part cannot run", () => {
    const argv = create(bundle(ofContainerd({ "kcr.io/restore-from": "c1" })));
    expect(call(...argv)).toEqual({ status: 42, told: argv });
  });

  it.each([
    ["a sandbox", ofContainerd({ "io.kubernetes.cri.container-type": "sandbox" })],
    ["a container without a name", { "io.kubernetes.cri.sandbox-uid": UID }],
    ["a UID that leads out", ofContainerd({ "io.kubernetes.cri.sandbox-uid": "../../out" })],
    ["a container's name that leads out", ofContainerd({ "io.kubernetes.cri.container-name": ".." })],
  ])("of %s is the runtime's, and nothing is written", (_, annotations) => {
    const argv = create(bundle(annotations));
    expect(call(...argv)).toEqual({ status: 42, told: argv });
    expect(existsSync(state("runs"))).toBe(false);
  });

  it("is not misled by what stands in a value", () => {
    const text = (value: unknown): string =>
      JSON.stringify({
        process: { env: ['A="io.kubernetes.cri.sandbox-uid":"other"'] },
        ...(value as object),
      });
    call(...create(bundle(ofContainerd(), text as typeof JSON.stringify)));
    expect(existsSync(state("runs", UID, "main", "last"))).toBe(true);
  });
});

describe("a start", () => {
  it("of a container that was restored does nothing", () => {
    put(state("work", ID, "restored"), "");
    expect(call(...globals, "start", ID)).toEqual({ status: 0, told: [] });
  });
});

describe("a kill", () => {
  beforeEach(() => {
    mkdirSync(state("ids"), { recursive: true });
    symlinkSync(`${UID}/main`, state("ids", ID));
  });
  const killed = (): string | undefined =>
    existsSync(state("runs", UID, "main", "killed"))
      ? readFileSync(state("runs", UID, "main", "killed"), "utf8")
      : undefined;

  it("of a run is written down", () => {
    expect(call(...globals, "kill", ID, "15")).toEqual({ status: 42, told: [...globals, "kill", ID, "15"] });
    expect(killed()).toBe(ID);
  });
  it("of what a run has left behind is not: containerd does that after every end", () => {
    call(...globals, "kill", "--all", ID, "9");
    expect(killed()).toBeUndefined();
  });
  it("follows no link that leads out", () => {
    rmSync(state("ids", ID));
    symlinkSync("../../out/x", state("ids", ID));
    expect(call("kill", ID, "9").status).toBe(42);
    expect(existsSync(at("out"))).toBe(false);
  });
});

describe("a delete", () => {
  it("drops what was kept for the container, and keeps what its next run has to know", () => {
    call(...create(bundle(ofContainerd())));
    put(state("work", ID, "restored"), "");
    put(state("work", ID, "deep/file"), "");
    expect(call(...globals, "delete", "--force", ID).status).toBe(42);
    expect([state("ids", ID), state("work", ID)].filter(existsSync)).toEqual([]);
    expect(existsSync(state("runs", UID, "main", "last"))).toBe(true);
  });
});

describe("a checkpoint", () => {
  it("ends as the runtime's does, whatever becomes of what is added to it", () => {
    const argv = [...globals, "checkpoint", "--image-path", "/none", "--leave-running", ID];
    expect(call(...argv)).toEqual({ status: 42, told: argv });
  });

  it("is made with the options that the agent wrote down for the container, and its flags in their place", () => {
    call(...create(bundle(ofContainerd())));
    const parsed = parseCriuOptions("file-locks skip-in-flight tcp-close");
    put(state("plans", UID, "main.criu"), parsed.type === "options" ? criuConfig(parsed.options) : "");
    const before = [...globals, "checkpoint"];
    const after = ["--image-path", "/none", "--work-path=/w", "--leave-running", ID];
    expect(call(...before, ...after).told).toEqual([
      ...before,
      "--tcp-skip-in-flight",
      "--file-locks",
      ...after,
      `config ${state("plans", UID, "main.criu")}`,
    ]);
    const other = ID.replace("c", "d");
    const others = [...before, "--image-path", ID, other];
    expect(call(...others).told).toEqual(others);
  });
});

describe("what Node cannot do itself", () => {
  const tools = () => toolsOf(at("kcr-runtime"));

  it.skipIf(process.getuid?.() !== 0)("pipes and devices are made", () => {
    tools().makeNode(at("pipe"), "fifo", 0, 0);
    tools().makeNode(at("null"), "character", 1, 3);
    expect(lstatSync(at("pipe")).isFIFO()).toBe(true);
    expect(lstatSync(at("null")).isCharacterDevice()).toBe(true);
    expect(lstatSync(at("null")).rdev).toBe(0x103);
    expect(() => tools().makeNode(at("pipe"), "fifo", 0, 0)).toThrow("File exists");
  });

  it("attributes are set where there are any", () => {
    writeFileSync(at("file"), "");
    expect(tools().setAttribute(at("file"), "user.kcr", Buffer.from([0, 255, 10]))).toBe(true);
    expect(tools().setAttribute("/proc/version", "user.kcr", Buffer.from("x"))).toBe(false);
    expect(() => tools().setAttribute(at("none"), "user.kcr", Buffer.from("x"))).toThrow("No such file");
  });
});

it("disabled, everything is passed on, but for the start of what was restored before", () => {
  writeFileSync(at("kcr-runtime.conf"), `runtime=${at("recorder")}\nstate=${at("state")}\ndisabled=1\n`);
  const argv = create(bundle(ofContainerd()));
  expect(call(...argv)).toEqual({ status: 42, told: argv });
  expect(existsSync(state("runs"))).toBe(false);
  put(state("work", ID, "restored"), "");
  expect(call("start", ID).status).toBe(0);
});

it("disabled, a run is not taken for the one before it later", () => {
  writeFileSync(at("kcr-runtime.conf"), `runtime=${at("recorder")}\nstate=${at("state")}\ndisabled=1\n`);
  put(state("runs", UID, "main", "last"), "id=old\nsandbox=box\ntime=1\n");
  call(...create(bundle(ofContainerd())));
  expect(parseLast(readFileSync(state("runs", UID, "main", "last"), "utf8"))?.id).toBe(ID);
});
