import { expect, test } from "vitest";
import { type CgroupLayout, cgroupLayout } from "./cgroups.ts";

const other = "proc /proc proc rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/sda1 / ext4 rw 0 0\n";

test.each<[string, string, CgroupLayout]>([
  [
    "version 2 alone",
    `${other}cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate 0 0\n`,
    { version: 2, hierarchies: [{ path: "/sys/fs/cgroup", type: "cgroup2", options: "", controllers: [] }] },
  ],
  [
    "version 1, controllers joined in pairs",
    `${other}tmpfs /sys/fs/cgroup tmpfs ro,mode=755 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,nosuid,xattr,release_agent=/lib/agent,name=systemd 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n`,
    {
      version: 1,
      hierarchies: [
        {
          path: "/sys/fs/cgroup/systemd",
          type: "cgroup",
          options: "none,name=systemd",
          controllers: ["name=systemd"],
        },
        {
          path: "/sys/fs/cgroup/cpu,cpuacct",
          type: "cgroup",
          options: "cpu,cpuacct",
          controllers: ["cpu", "cpuacct"],
        },
        { path: "/sys/fs/cgroup/memory", type: "cgroup", options: "memory", controllers: ["memory"] },
      ],
    },
  ],
  [
    "version 1 with version 2 beside it counts as version 1",
    `${other}tmpfs /sys/fs/cgroup tmpfs ro 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n`,
    {
      version: 1,
      hierarchies: [
        { path: "/sys/fs/cgroup/unified", type: "cgroup2", options: "", controllers: [] },
        { path: "/sys/fs/cgroup/memory", type: "cgroup", options: "memory", controllers: ["memory"] },
      ],
    },
  ],
  [
    "another program's mounts elsewhere do not count",
    `${other}cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
cgroup /var/lib/other/sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /run/other/cgroup cgroup2 rw 0 0\n`,
    { version: 2, hierarchies: [{ path: "/sys/fs/cgroup", type: "cgroup2", options: "", controllers: [] }] },
  ],
])("%s", (_name, mounts, expected) => {
  expect(cgroupLayout(mounts)).toEqual(expected);
});

test("a machine without control groups is refused", () => {
  expect(() => cgroupLayout(other)).toThrow("no control groups");
});
