import { describe, expect, it } from "vitest";
import { globalValue, parseCall, restoreArguments } from "./args.ts";

const ID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const BUNDLE = `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${ID}`;
const globals = [
  "--root",
  "/run/containerd/runc/k8s.io",
  "--log",
  `${BUNDLE}/log.json`,
  "--log-format",
  "json",
];
const IMAGE = { imagePath: "/copy/checkpoint", workPath: "/work" };

/** As calls are made; those "by its source" were not recorded on a machine but read from the caller's code. */
const CALLS: [string, string[], string[]][] = [
  [
    "containerd 2.3 and 2.4, cgroupfs",
    [...globals, "create", "--bundle", BUNDLE, "--pid-file", `${BUNDLE}/init.pid`, ID],
    [...globals, "restore", "--bundle", BUNDLE, "--pid-file", `${BUNDLE}/init.pid`, ID],
  ],
  [
    "containerd 2.3 and 2.4, a terminal",
    [
      ...globals,
      "create",
      "--bundle",
      BUNDLE,
      "--pid-file",
      `${BUNDLE}/init.pid`,
      "--console-socket",
      "/tmp/pty1/pty.sock",
      ID,
    ],
    [
      ...globals,
      "restore",
      "--bundle",
      BUNDLE,
      "--pid-file",
      `${BUNDLE}/init.pid`,
      "--console-socket",
      "/tmp/pty1/pty.sock",
      ID,
    ],
  ],
  [
    "containerd with the systemd cgroup driver, by its source (go-runc)",
    [...globals, "--systemd-cgroup", "create", "--bundle", BUNDLE, "--pid-file", `${BUNDLE}/init.pid`, ID],
    [...globals, "--systemd-cgroup", "restore", "--bundle", BUNDLE, "--pid-file", `${BUNDLE}/init.pid`, ID],
  ],
  [
    "containerd with NoPivotRoot and NoNewKeyring, by its source",
    [
      ...globals,
      "create",
      "--bundle",
      BUNDLE,
      "--pid-file",
      `${BUNDLE}/init.pid`,
      "--no-pivot",
      "--no-new-keyring",
      ID,
    ],
    [...globals, "restore", "--bundle", BUNDLE, "--pid-file", `${BUNDLE}/init.pid`, "--no-pivot", ID],
  ],
  [
    "conmon, by its source",
    ["--root=/run/runc", "--systemd-cgroup", "create", "--bundle", BUNDLE, "--pid-file", "/run/pidfile", ID],
    ["--root=/run/runc", "--systemd-cgroup", "restore", "--bundle", BUNDLE, "--pid-file", "/run/pidfile", ID],
  ],
];

describe("a create becomes a restore with the caller's own flags", () => {
  it.each(CALLS)("%s", (_, create, restore) => {
    const call = parseCall(create);
    expect(call?.words).toEqual([ID]);
    const args = restoreArguments(call!, IMAGE);
    const at = args.indexOf("restore");
    const added = [
      "--detach",
      "--image-path",
      IMAGE.imagePath,
      "--work-path",
      IMAGE.workPath,
      "--manage-cgroups-mode",
      "ignore",
    ];
    expect(args.slice(at + 1, at + 1 + added.length)).toEqual(added);
    expect([...args.slice(0, at + 1), ...args.slice(at + 1 + added.length)]).toEqual(restore);
  });
});

describe("a call that is not understood is not ours", () => {
  it.each([
    ["no words", []],
    ["another command", [...globals, "state", ID]],
    [
      "a flag of create that a restore has not",
      [...globals, "create", "--bundle", BUNDLE, "--preserve-fds", "3", ID],
    ],
    ["another such flag", [...globals, "create", "--bundle", BUNDLE, "--pidfd-socket", "/s", ID]],
    ["a global flag that is not known", ["--frobnicate", "x", "create", "--bundle", BUNDLE, ID]],
    ["no ID", [...globals, "create", "--bundle", BUNDLE]],
    ["two IDs", [...globals, "create", "--bundle", BUNDLE, ID, ID]],
    ["a value that is missing", [...globals, "create", ID, "--bundle"]],
  ])("%s", (_, argv) => {
    expect(parseCall(argv)).toBeUndefined();
  });
});

it("the value of a global flag is found in both its forms, the last one counts", () => {
  const call = parseCall(["--log", "/a", "--log=/b", "create", "-b", "/bundle", ID]);
  expect(globalValue(call!, "log")).toBe("/b");
  expect(call?.flags.get("bundle")).toBe("/bundle");
});
