import { describe, expect, it } from "vitest";
import { differences } from "./fit.ts";
import { parseSpec } from "./spec.ts";

const SECRET = "s3cr3t";

/** As containerd 2.4 writes it, shortened. */
const json = () => ({
  ociVersion: "1.3.0",
  process: {
    user: { uid: 1000, gid: 1000, additionalGids: [1000, 2000] },
    args: ["server", "--port", "80"],
    env: [
      "PATH=/usr/bin:/bin",
      "HOSTNAME=web-0",
      `GREETING=hello ${SECRET}`,
      "POD_IP=10.0.0.1",
      "KUBERNETES_SERVICE_HOST=10.190.255.1",
      "KUBERNETES_SERVICE_PORT=443",
      "KUBERNETES_SERVICE_PORT_HTTPS=443",
      "KUBERNETES_PORT=tcp://10.190.255.1:443",
      "KUBERNETES_PORT_443_TCP=tcp://10.190.255.1:443",
      "KUBERNETES_PORT_443_TCP_PROTO=tcp",
      "KUBERNETES_PORT_443_TCP_PORT=443",
      "KUBERNETES_PORT_443_TCP_ADDR=10.190.255.1",
    ],
    cwd: "/srv",
    terminal: false as boolean,
    noNewPrivileges: true as boolean,
    capabilities: {
      bounding: ["CAP_CHOWN", "CAP_KILL"],
      effective: ["CAP_CHOWN", "CAP_KILL"],
      permitted: ["CAP_CHOWN", "CAP_KILL"],
    },
    oomScoreAdj: 1000,
    apparmorProfile: "cri-containerd.apparmor.d",
  },
  root: { path: "rootfs", readonly: false as boolean },
  hostname: undefined as string | undefined,
  mounts: [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] },
    { destination: "/data", type: "bind", source: "/pods/1/volumes/x", options: ["rbind", "rprivate", "rw"] },
  ],
  annotations: { "io.kubernetes.cri.sandbox-id": "f92a" },
  linux: {
    resources: { memory: { limit: 1 } },
    cgroupsPath: "/kubepods/pod1/a",
    namespaces: [{ type: "network", path: "/proc/1/ns/net" }],
    seccomp: { defaultAction: "SCMP_ACT_ERRNO", syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW" }] } as
      | { defaultAction: string; syscalls: unknown[] }
      | undefined,
    maskedPaths: ["/proc/kcore"] as string[] | null,
    readonlyPaths: ["/proc/sys"],
  },
});
type Json = ReturnType<typeof json>;

const compare = (change: (now: Json) => void, options: Parameters<typeof differences>[2] = {}): string[] => {
  const now = json();
  change(now);
  const [a, b] = [parseSpec(JSON.stringify(json()), "a"), parseSpec(JSON.stringify(now), "b")];
  const found = differences(a, b, options);
  expect(differences(b, a, options).sort()).toEqual([...found].sort());
  expect(JSON.stringify(found)).not.toContain(SECRET);
  return found;
};

const env = (now: Json, name: string, value?: string): void => {
  now.process.env = now.process.env.filter((one) => !one.startsWith(`${name}=`));
  if (value !== undefined) now.process.env.push(`${name}=${value}`);
};

describe("what does not fit is named", () => {
  it.each<[string, string[], (now: Json) => void]>([
    ["the same", [], () => {}],
    ["another argument", ["command"], (now) => now.process.args.push("-v")],
    ["an argument less", ["command"], (now) => now.process.args.pop()],
    ["another directory", ["working directory"], (now) => (now.process.cwd = "/")],
    ["another user", ["user"], (now) => (now.process.user.uid = 0)],
    ["another group", ["user"], (now) => (now.process.user.gid = 0)],
    ["a group more", ["user"], (now) => now.process.user.additionalGids.push(3000)],
    ["groups in another order", [], (now) => now.process.user.additionalGids.reverse()],
    [
      "a capability more",
      ["capabilities"],
      (now) => now.process.capabilities.effective.push("CAP_SYS_ADMIN"),
    ],
    ["capabilities in another order", [], (now) => now.process.capabilities.bounding.reverse()],
    ["a writable root", ["read-only root"], (now) => (now.root.readonly = true)],
    ["new privileges", ["no new privileges"], (now) => (now.process.noNewPrivileges = false)],
    ["a terminal", ["terminal"], (now) => (now.process.terminal = true)],
    ["no seccomp", ["seccomp"], (now) => (now.linux.seccomp = undefined)],
    ["another kind of profile", ["seccomp"], (now) => (now.linux.seccomp!.defaultAction = "SCMP_ACT_LOG")],
    ["a newer runtime's profile", [], (now) => now.linux.seccomp!.syscalls.push({ names: ["new"] })],
    ["nothing masked", ["masked paths"], (now) => (now.linux.maskedPaths = null)],
    ["more masked by a newer runtime", [], (now) => now.linux.maskedPaths!.push("/proc/keys")],
    ["another value", ["environment variable GREETING"], (now) => env(now, "GREETING", SECRET)],
    ["a variable less", ["environment variable GREETING"], (now) => env(now, "GREETING")],
    ["a variable more", ["environment variable TOKEN"], (now) => env(now, "TOKEN", SECRET)],
    ["variables in another order", [], (now) => now.process.env.reverse()],
    ["a name that is no line", ["environment variable A?B"], (now) => env(now, "A\nB", SECRET)],
    ["a mount less", ["mount /data"], (now) => now.mounts.pop()],
    ["a read-only mount", ["mount /data"], (now) => now.mounts[1]!.options.push("ro")],
    ["a mount of another type", ["mount /proc"], (now) => (now.mounts[0]!.type = "tmpfs")],
    ["a bind mount called none", [], (now) => (now.mounts[1]!.type = "none")],
    [
      "a mount more",
      ["mount /new"],
      (now) => now.mounts.push({ destination: "/new", type: "bind", source: "/", options: [] }),
    ],
    [
      "several at once",
      ["command", "terminal", "environment variable GREETING"],
      (now) => {
        now.process.args = [];
        now.process.terminal = true;
        env(now, "GREETING");
      },
    ],
  ])("%s: %j", (_, expected, change) => {
    expect(compare(change)).toEqual(expected);
  });

  it("names the image where the node's layers are another's", () => {
    const lowerDirectories = { dumped: ["/a", "/b"], now: ["/a", "/c"] };
    expect(compare(() => {}, { lowerDirectories })).toEqual(["image"]);
    expect(compare(() => {}, { lowerDirectories: { dumped: ["/a"], now: ["/a"] } })).toEqual([]);
  });
});

describe("what differs from pod to pod is not compared", () => {
  it.each<[string, (now: Json) => void]>([
    ["the hostname", (now) => env(now, "HOSTNAME", "web-1")],
    ["what comes from the pod's fields", (now) => env(now, "POD_IP", "10.0.0.2")],
    [
      "where mounts come from, cgroup, resources, sandbox, AppArmor, OOM score",
      (now) => {
        now.mounts[1]!.source = "/pods/2/volumes/x";
        now.linux.cgroupsPath = "/other";
        now.linux.resources.memory.limit = 2;
        now.linux.namespaces[0]!.path = "/proc/2/ns/net";
        now.annotations = { "io.kubernetes.cri.sandbox-id": "0000" };
        now.process.apparmorProfile = "other";
        now.process.oomScoreAdj = 5;
        now.hostname = "web-1";
      },
    ],
    [
      "a Service that came",
      (now) => {
        env(now, "MY_DB_SERVICE_HOST", "10.1.1.1");
        env(now, "MY_DB_SERVICE_PORT", "5432");
        env(now, "MY_DB_SERVICE_PORT_SQL", "5432");
        env(now, "MY_DB_PORT", "udp://10.1.1.1:5432");
        env(now, "MY_DB_PORT_5432_UDP", "udp://10.1.1.1:5432");
        env(now, "MY_DB_PORT_5432_UDP_PROTO", "udp");
        env(now, "MY_DB_PORT_5432_UDP_PORT", "5432");
        env(now, "MY_DB_PORT_5432_UDP_ADDR", "fd00::1");
      },
    ],
    [
      "a Service with another address",
      (now) => {
        now.process.env = now.process.env.map((one) => one.replace("10.190.255.1", "10.190.255.2"));
      },
    ],
  ])("%s", (_, change) => {
    expect(compare(change, { perPodEnv: ["POD_IP"] })).toEqual([]);
  });

  it.each([
    ["APP_PORT", "8080"],
    ["DB_SERVICE_HOST", "db.example.org"],
    ["DB_SERVICE_HOST", "10.0.0.1"],
    ["DB_PORT", "tcp://10.0.0.1:1"],
    ["KUBERNETES_PORT", "8080"],
    ["KUBERNETES_PORT_443_TCP", "off"],
    ["KUBERNETES_THING", "1"],
  ])("but %s=%s, which is only named like a Service's, is", (name, value) => {
    expect(compare((now) => env(now, name, value))).toContain(`environment variable ${name}`);
  });

  it.each([
    { DB_SERVICE_HOST: "db.example.org", DB_SERVICE_PORT: "1", DB_PORT: "tcp://10.0.0.1:1" },
    { DB_SERVICE_HOST: "10.0.0.1", DB_SERVICE_PORT: "sql", DB_PORT: "tcp://10.0.0.1:1" },
    { DB_SERVICE_HOST: "10.0.0.1", DB_SERVICE_PORT: "1", DB_PORT: "1" },
  ])("but %j, which the kubelet would not have made, are", (variables) => {
    const found = compare((now) => {
      for (const [name, value] of Object.entries({ ...variables, DB_PORT_1_TCP_PORT: "1" }))
        env(now, name, value);
    });
    expect(found).toContain("environment variable DB_PORT_1_TCP_PORT");
  });
});
