import { describe, expect, test } from "vitest";
import {
  type Checkpoint,
  type CheckpointStatus,
  LOCAL_COPY,
  POISONED,
  RESTORABLE,
} from "../../api/checkpoint.ts";
import { findCondition } from "../../api/conditions.ts";
import { KcrError } from "../../api/errors.ts";
import { settings } from "../../api/settings.ts";
import { decideCopy, type Holdings, wantedCopies } from "./decide.ts";
import { copied, restorable, uncopied, unfinished } from "./status.ts";

const now = new Date("2026-01-01T12:00:00Z");
const condition = (type: string, status: "True" | "False", reason = "Test") => ({
  type,
  status,
  reason,
  message: "",
  lastTransitionTime: now.toISOString(),
});
/** Taken so many minutes ago of container `app` of pod `p`, of class kcr, unless said. */
function taken(
  name: string,
  minutesAgo: number,
  {
    pod = "p",
    container = "app",
    ...status
  }: Partial<CheckpointStatus> & { pod?: string; container?: string } = {},
): Checkpoint {
  return {
    metadata: { name, namespace: "shop", uid: name },
    spec: {
      checkpointData: `checkpoint-${name}.tar`,
      checkpointTimestamp: new Date(now.getTime() - minutesAgo * 60_000).toISOString(),
      checkpointID: name,
      containerName: container,
      nodeName: "here",
    },
    status: {
      phase: "Created",
      handler: "kcr",
      lineage: { podUID: pod, containerID: "c", restartCount: 0 },
      ...status,
    },
  };
}
const wanted = (all: Checkpoint[], local: object = {}, store = "both") =>
  [
    ...wantedCopies(
      all,
      settings.parse({ store, registry: { push: "registry.example" }, local: { perContainer: 2, ...local } }),
    ),
  ].sort();

describe("which Checkpoints have a copy", () => {
  test("are the newest of each container", () => {
    const all = [
      taken("c", 1),
      taken("a", 3),
      taken("b", 2),
      taken("d", 9, { pod: "q" }),
      taken("e", 8, { container: "sidecar" }),
    ];
    expect(wanted(all)).toEqual(["b", "c", "d", "e"]);
    expect(wanted(all.toReversed(), { perContainer: 1 })).toEqual(["c", "d", "e"]);
  });

  test("are those of class kcr, and without a registry all", () => {
    const all = [taken("plain", 1, { handler: undefined }), taken("kcr", 2, { pod: "q" })];
    expect(wanted(all)).toEqual(["kcr"]);
    expect(wanted(all, {}, "registry")).toEqual(["kcr"]);
    expect(wanted(all, {}, "node")).toEqual(["kcr", "plain"]);
  });

  test("are none that are going, were given up, or are not described yet", () => {
    const going = taken("going", 1);
    going.metadata.deletionTimestamp = now.toISOString();
    const all = [
      going,
      taken("failed", 2, { phase: "Failed" }),
      taken("unfinished", 3, { conditions: [condition(RESTORABLE, "False", "CheckpointFailed")] }),
      taken("new", 0, { phase: undefined }),
      taken("a", 9),
      taken("by-its-copy", 10, { phase: "Failed", conditions: [condition(LOCAL_COPY, "True")] }),
    ];
    expect(wanted(all)).toEqual(["a", "by-its-copy"]);
  });

  test("are sound ones before those that crash again and again", () => {
    const poisoned = { conditions: [condition(POISONED, "True")] };
    expect(wanted([taken("a", 1, poisoned), taken("b", 2), taken("c", 3)])).toEqual(["b", "c"]);
    expect(wanted([taken("a", 1, poisoned), taken("b", 2)])).toEqual(["a", "b"]);
  });

  test("are no more than there is room for: every container's newest first", () => {
    const size = { sizeBytes: 100 };
    const all = [
      taken("p1", 1, size),
      taken("p2", 2, size),
      taken("q1", 8, { ...size, pod: "q" }),
      taken("q2", 9, { ...size, pod: "q" }),
    ];
    expect(wanted(all, { maxBytes: 400 })).toEqual(["p1", "p2", "q1", "q2"]);
    expect(wanted(all, { maxBytes: 399 })).toEqual(["p1", "p2", "q1"]);
    expect(wanted(all, { maxBytes: 200 })).toEqual(["p1", "q1"]);
    expect(wanted(all, { maxBytes: 99 })).toEqual([]);
  });
});

describe("what becomes of a copy", () => {
  const onNode: CheckpointStatus = {
    contentDigest: "sha256:1",
    digest: "sha256:1",
    copies: [{ kind: "Node", node: "here" }],
    conditions: [condition(LOCAL_COPY, "True")],
  };
  const gone = { conditions: [condition(LOCAL_COPY, "False", "CopyDropped")] };
  const refused = { conditions: [condition(LOCAL_COPY, "False", "ArchiveInvalid")] };
  const full = { conditions: [condition(LOCAL_COPY, "False", "DiskFull")] };
  const none: Holdings = {
    copy: "none",
    hasArchive: false,
    hasImage: false,
    isWanted: true,
    isPinned: false,
  };
  type Case = [string, CheckpointStatus, Partial<Holdings>, unknown, ("both" | "node" | "registry")?];
  const cases: Case[] = [
    [
      "made of its archive, else of its image",
      {},
      { hasArchive: true, hasImage: true },
      { type: "make", from: ["archive", "image"] },
    ],
    ["made of its image", full, { hasImage: true }, { type: "make", from: ["image"] }],
    ["tried again where there was no room", full, { hasArchive: true }, { type: "make", from: ["archive"] }],
    ["not made of an archive that was refused", refused, { hasArchive: true }, { type: "nothing" }],
    [
      "made of the image of an archive that was refused",
      refused,
      { hasArchive: true, hasImage: true },
      { type: "make", from: ["image"] },
    ],
    [
      "made anew when damaged",
      onNode,
      { copy: "corrupt", hasImage: true },
      { type: "make", from: ["image"] },
    ],
    ["given up when damaged, and nothing else is left", onNode, { copy: "corrupt" }, { type: "lost" }],
    ["given up when it is gone", onNode, {}, { type: "lost" }],
    ["given up once", { ...gone, copies: [] }, {}, { type: "nothing" }],
    ["told of", { digest: "sha256:1" }, { copy: "whole" }, { type: "record" }],
    [
      "told of by what is in it too",
      { ...onNode, contentDigest: undefined },
      { copy: "whole", hasArchive: true },
      { type: "record" },
    ],
    ["left alone once told of", onNode, { copy: "whole", hasArchive: true }, { type: "nothing" }],
    [
      "all that is left of the archive where nothing is pushed",
      onNode,
      { copy: "whole", hasArchive: true },
      { type: "release-archive" },
      "node",
    ],
    ["to make room", onNode, { copy: "whole", isWanted: false }, { type: "drop" }],
    [
      "not to make room while a plan names it",
      onNode,
      { copy: "whole", isWanted: false, isPinned: true },
      { type: "nothing" },
    ],
    [
      "not made where there is no room for it, and that is told",
      {},
      { hasArchive: true, isWanted: false },
      { type: "drop" },
    ],
    ["not told of as making room twice", gone, { hasArchive: true, isWanted: false }, { type: "nothing" }],
    [
      "not made where there is no room for it, and the archive goes",
      gone,
      { hasArchive: true, isWanted: false },
      { type: "drop" },
      "node",
    ],
    [
      "no matter of a Checkpoint that failed before",
      { phase: "Failed" },
      { hasArchive: true, isWanted: false },
      { type: "nothing" },
    ],
    [
      "no matter of a pod of another class",
      { handler: undefined },
      { hasArchive: true },
      { type: "nothing" },
    ],
    [
      "no matter before the Checkpoint is described",
      { phase: undefined },
      { hasArchive: true },
      { type: "nothing" },
    ],
  ];
  test.each(cases)("it is %s", (_what, status, holdings, decision, store = "both") => {
    const checkpoint = taken("a", 1, status);
    expect(decideCopy(checkpoint, { ...none, ...holdings }, { node: "here", store })).toEqual(decision);
  });

  test("of another node, or of what is being deleted, is not this agent's to make", () => {
    const holdings = { ...none, hasArchive: true };
    const checkpoint = taken("a", 1);
    expect(decideCopy(checkpoint, holdings, { node: "elsewhere", store: "both" }).type).toBe("nothing");
    checkpoint.metadata.deletionTimestamp = now.toISOString();
    expect(decideCopy(checkpoint, holdings, { node: "here", store: "both" }).type).toBe("nothing");
  });
});

describe("whether a Checkpoint is good", () => {
  const where = { node: "here", now };
  const good = ({ conditions }: CheckpointStatus) => {
    const found = findCondition(conditions, RESTORABLE);
    return found && `${found.status} ${found.reason}`;
  };
  const image = { kind: "Registry", image: "r/x@sha256:1" } as const;
  const damaged = new KcrError("CopyCorrupt", "damaged");

  test("a verified copy makes it so, where copies count", () => {
    expect(good(copied({}, { ...where, store: "both", copy: "1" }))).toBe("True CopyVerified");
    expect(good(copied({}, { ...where, store: "node", copy: "1" }))).toBe("True CopyVerified");
    expect(good(copied({}, { ...where, store: "registry", copy: "1" }))).toBeUndefined();
    expect(copied({}, { ...where, store: "both", copy: "1" })).toMatchObject({
      digest: "sha256:1",
      copies: [{ kind: "Node", node: "here", verifiedTime: now.toISOString() }],
    });
  });

  test("a copy more adds its place, and takes no other away", () => {
    const twice = copied(copied({ copies: [image] }, { ...where, store: "both", copy: "1" }), {
      ...where,
      store: "both",
      copy: "1",
    });
    expect(twice.copies).toHaveLength(2);
    expect(good(twice)).toBe("True ImageVerified");
  });

  test("without its copy it is good by its image alone", () => {
    const both = copied({ copies: [image] }, { ...where, store: "both", copy: "1" });
    const left = uncopied(both, { ...where, store: "both", error: damaged });
    expect(left.copies).toEqual([image]);
    expect(good(left)).toBe("True ImageVerified");
    const only = copied({}, { ...where, store: "both", copy: "1" });
    expect(good(uncopied(only, { ...where, store: "both", error: damaged }))).toBe("False CopyCorrupt");
  });

  test("by what another node has it is not, and that stays where it is", () => {
    const there = { kind: "Node", node: "there" } as const;
    const both = copied({ copies: [there] }, { ...where, store: "node", copy: "1" });
    expect(both.copies).toHaveLength(2);
    const left = uncopied(both, { ...where, store: "node", error: damaged });
    expect(left.copies).toEqual([there]);
    expect(good(left)).toBe("False CopyCorrupt");
  });

  test("a copy that could not be made says nothing where there will be an image", () => {
    const full = new KcrError("DiskFull", "full");
    const invalid = new KcrError("ArchiveInvalid", "cut short");
    expect(good(uncopied({}, { ...where, store: "both", error: full }))).toBeUndefined();
    expect(good(uncopied({}, { ...where, store: "both", error: invalid }))).toBeUndefined();
    expect(good(uncopied({}, { ...where, store: "node", error: full }))).toBeUndefined();
    expect(good(uncopied({}, { ...where, store: "node", error: invalid }))).toBe("False ArchiveInvalid");
  });

  test("of a dump that CRIU gave up it never is", () => {
    const made = copied({}, { ...where, store: "both", copy: "1", dumpError: "no memory" });
    expect(good(made)).toBe("False CheckpointFailed");
    expect(good(copied(made, { ...where, store: "both", copy: "1" }))).toBe("False CheckpointFailed");
    const conditions = [{ ...unfinished("x"), lastTransitionTime: now.toISOString() }];
    expect(restorable({ conditions, copies: [image] }, { node: "here", store: "both" })?.status).toBe(
      "False",
    );
  });
});
