import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Layout } from "../store/layout.ts";
import type { Note } from "../store/notes.ts";
import { type Candidate, PLAN_VERSION, type Plan } from "../store/plan.ts";
import {
  formatLast,
  LAST,
  parseState,
  type RunState,
  STATE,
  STATE_VERSION,
  stateOfRun,
} from "../store/runs.ts";
import { parseCall } from "./args.ts";
import { readConf } from "./conf.ts";
import { clean, create, identityOf } from "./create.ts";
import { parseSpec } from "./parts/spec.ts";
import { VOLUMES_MARK } from "./undo.ts";

/** Creates that cannot become a restore, for the node has no copy of what they are to restore. */

const key = { podUID: "5d9f3e3b-0000-4000-8000-000000000001", container: "main" };
const parent: Candidate = {
  checkpoint: "c1",
  uid: "uid-1",
  copy: "1".repeat(64),
  takenTime: "2026-01-01T00:00:00Z",
  containerID: "run-1",
};

let root: string;
let layout: Layout;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kcr-create-"));
  layout = new Layout(join(root, "state"));
  put(join(root, "home/kcr-runtime.conf"), `runtime=/bin/false\nstate=${layout.root}\nwait_seconds=0\n`);
  put(
    join(root, "bundle/config.json"),
    JSON.stringify({
      root: { path: "rootfs" },
      annotations: {
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": key.container,
        "io.kubernetes.cri.sandbox-uid": key.podUID,
        "io.kubernetes.cri.sandbox-id": "box",
      },
    }),
  );
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
const plan = (more: Partial<Plan> = {}): Plan => ({
  version: PLAN_VERSION,
  ...key,
  namespace: "shop",
  pod: "cache",
  run: "run-1",
  onFailure: true,
  fallback: "FreshStart",
  onSpecChange: "Fresh",
  volumes: "Capture",
  maxAttempts: 3,
  stableSeconds: 30,
  perPodEnv: [],
  candidates: [parent],
  ...more,
});
/** The run `run-2` was restored from what was made of `run-1`, and has ended. */
function restoredBefore(given: Plan): void {
  const state: RunState = {
    version: STATE_VERSION,
    chain: ["run-1", "run-2"],
    restoredFrom: parent,
    crashes: {},
    passedOver: [],
    used: [],
  };
  put(layout.plan(key), JSON.stringify(given));
  put(join(layout.run(key), LAST), formatLast({ id: "run-2", sandbox: "box", createdMs: Date.now() }));
  put(join(layout.run(key), STATE), JSON.stringify(state));
}
const call = (id: string) =>
  create(readConf(join(root, "home")), parseCall(["create", "--bundle", join(root, "bundle"), id])!);
const notes = (): Note[] =>
  readdirSync(layout.notes(key))
    .sort()
    .map((name) => JSON.parse(readFileSync(join(layout.notes(key), name), "utf8")) as Note);

describe("a config.json that cannot be understood", () => {
  const planned = (text: string): void => {
    put(layout.plan(key), text);
    process.env["KCR_PLAN"] = layout.plan(key);
    put(join(root, "bundle/config.json"), '{"process": true, "root": {"path": "rootfs"}}');
  };
  afterEach(() => {
    delete process.env["KCR_PLAN"];
  });

  it("is the real runtime's business", async () => {
    planned(JSON.stringify(plan()));
    expect(await call("run-3")).toBe("create");
  });
  it("is so too where Fail stands in a plan that is none", async () => {
    planned(JSON.stringify({ ...plan({ fallback: "Fail" }), volumes: 0 }));
    expect(await call("run-3")).toBe("create");
  });
  it.each([1, 99])(
    "starts nothing where a plan of protocol %i says that no fresh start is wanted",
    async (version) => {
      planned(JSON.stringify({ ...plan({ fallback: "Fail" }), version }));
      expect(await call("run-3")).toBe("refused");
    },
  );
});

describe("where nothing can be restored and the fallback is Fail", () => {
  it("the container is refused as often as it is created", async () => {
    restoredBefore(plan({ fallback: "Fail" }));
    const outcomes = [await call("run-3"), await call("run-4"), await call("run-5"), await call("run-6")];
    expect(outcomes).toEqual(["refused", "refused", "refused", "refused"]);
    expect(notes().map(({ type }) => type)).toEqual(["refused", "refused", "refused", "refused"]);
  });

  it.each([
    ["a note", () => put(layout.notes(key), "in the way")],
    ["what is remembered", () => put(join(layout.run(key), STATE, "in the way"), "")],
  ])("it is refused also where %s cannot be written", async (_, putInTheWay) => {
    restoredBefore(plan({ run: "run-2", fallback: "Fail" }));
    rmSync(join(layout.run(key), STATE));
    putInTheWay();
    expect(await call("run-3")).toBe("refused");
  });

  it("where the last run came from is still known", async () => {
    restoredBefore(plan({ fallback: "Fail" }));
    await call("run-3");
    const state = parseState(readFileSync(join(layout.run(key), STATE), "utf8"));
    expect(stateOfRun(state, "run-2")).toMatchObject({ restoredFrom: parent });
  });
});

/** The run `run-2` ended by itself, as containerd has written it down. */
function exited(ExitCode: number): void {
  const status = { ExitCode, StartedAt: 1e18, FinishedAt: 2e18 };
  put(join(root, "home/kcr-runtime.conf"), `state=${layout.root}\ncontainerd_root=${root}\n`);
  put(join(root, "io.containerd.grpc.v1.cri/containers/run-2/status"), JSON.stringify(status));
}

describe("what an agent or a handler of a later version has left is not acted on:", () => {
  const laterPlan = (more: object) =>
    put(layout.plan(key), JSON.stringify({ ...plan(), version: 99, ...more }));
  const laterState = () => {
    const path = join(layout.run(key), STATE);
    put(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), version: 99 }));
  };

  it("of a plan the fallback is kept, whatever else stands in it", async () => {
    restoredBefore(plan());
    laterPlan({ candidates: "elsewhere", container: undefined });
    expect(await call("run-3")).toBe("create");
    laterPlan({ fallback: "Fail" });
    expect(await call("run-4")).toBe("refused");
    const told = { reason: "ProtocolUnknown", message: expect.stringContaining("plan is of protocol 99") };
    expect(notes()).toMatchObject([
      { ...told, type: "fresh", lost: true },
      { ...told, type: "refused" },
    ]);
  });

  it.each<[string, () => void]>([
    ["that never ran", () => rmSync(join(layout.run(key), LAST))],
    ["whose program ended by itself", () => exited(0)],
  ])("a container %s loses nothing by it, and begins", async (_, happened) => {
    restoredBefore(plan());
    laterPlan({ fallback: "Fail" });
    happened();
    expect(await call("run-3")).toBe("create");
    expect(notes()).toMatchObject([{ type: "fresh", reason: "ProtocolUnknown", lost: false }]);
  });

  it.each([
    ["FreshStart", "create", { type: "fresh", lost: true }],
    ["Fail", "refused", { type: "refused" }],
  ] as const)("what is remembered of the last run, with fallback %s", async (fallback, outcome, note) => {
    restoredBefore(plan({ fallback }));
    laterState();
    const remembered = readFileSync(join(layout.run(key), STATE), "utf8");
    expect(await call("run-3")).toBe(outcome);
    const message = expect.stringContaining("of the last run is of protocol 99");
    expect(notes()).toMatchObject([{ ...note, reason: "ProtocolUnknown", message }]);
    // Left for whoever knows it.
    expect(readFileSync(join(layout.run(key), STATE), "utf8")).toBe(remembered);
  });

  it("where no restore is wanted there is nothing to tell of it", async () => {
    restoredBefore(plan({ onFailure: false }));
    laterState();
    expect(await call("run-3")).toBe("create");
    expect(notes()).toMatchObject([{ reason: "NotWanted" }]);
  });

  it("a new pod does not wait for another plan", async () => {
    laterPlan({});
    const path = join(root, "bundle/config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    config.annotations["kcr.io/restore-from"] = "a";
    put(path, JSON.stringify(config));
    expect(await call("run-1")).toBe("create");
    expect(notes()).toMatchObject([{ reason: "ProtocolUnknown", lost: true }]);
  });
});

it("a volume that a restore had in hand when the power went has its files again, also for a fresh start", async () => {
  restoredBefore(plan());
  const volume = join(root, "volume");
  put(join(volume, ".kcr-before/file"), "of then");
  put(join(volume, "file"), "half of the checkpoint's");
  put(join(layout.work("run-3"), VOLUMES_MARK), JSON.stringify([volume]));
  const state = parseState(readFileSync(join(layout.run(key), STATE), "utf8"))!;
  const cutOff = { ...state, chain: [...state.chain, "run-3"], before: state };
  put(join(layout.run(key), STATE), JSON.stringify(cutOff));
  expect(await call("run-4")).toBe("create");
  expect(readdirSync(volume)).toEqual(["file"]);
  expect(readFileSync(join(volume, "file"), "utf8")).toBe("of then");
});

it.each([
  ["FreshStart", "create", "fresh"],
  ["Fail", "refused", "refused"],
] as const)(
  "a handler that broke off leaves word of it, and does what is wanted then: %s",
  async (fallback, outcome, type) => {
    restoredBefore(plan({ fallback }));
    const argv = ["create", "--bundle", join(root, "bundle"), "run-3"];
    expect(await clean(readConf(join(root, "home")), parseCall(argv)!)).toBe(outcome);
    expect(notes()).toMatchObject([{ type, containerID: "run-3", reason: "RestoreFailed" }]);
  },
);

describe("whose container it is", () => {
  const ofContainerd = {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "main",
    "io.kubernetes.cri.sandbox-uid": "uid-1",
  };
  const ofCrio = {
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.container.name": "main",
    "io.kubernetes.pod.uid": "uid-1",
  };
  const owner = (annotations: Record<string, string>): string | undefined =>
    identityOf(parseSpec(JSON.stringify({ annotations }), "config.json"))?.podUID;

  it("says the engine", () => {
    expect([owner(ofContainerd), owner(ofCrio)]).toEqual(["uid-1", "uid-1"]);
  });

  it.each([
    [
      "its UID",
      { "io.kubernetes.cri.sandbox-uid": "other", "io.kubernetes.cri.container-name": "main" },
      "uid-1",
    ],
    ["all of it", { ...ofContainerd, "io.kubernetes.cri.sandbox-uid": "other" }, undefined],
  ])("is nothing that a pod can say in annotations that CRI-O passes on: %s", (_, said, expected) => {
    expect(owner({ ...said, ...ofCrio })).toBe(expected);
  });
});
