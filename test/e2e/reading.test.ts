import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { COLUMNS, type Counterpart, DIFF, INSPECT } from "../../scripts/checkpointctl.ts";
import { FileBytes } from "../../src/archive/bytes.ts";
import { readTar } from "../../src/archive/tar.ts";
import type { Report } from "../../src/cli/inspect/report.ts";
import { kcr } from "../../src/cli/testing/io.ts";
import { checkpointEntries, type EntrySpec, makeTar, message } from "../support/archive.ts";
import { type ArchiveSet, archiveSet, DUMPED, type Dumped, lastArchiveSet } from "../support/archive-set.ts";
import {
  asCheckpointctl,
  checkpointctl,
  keysOf,
  settled,
  sizeText,
  tableRows,
} from "../support/checkpointctl.ts";
import { image, memoryImages, PAGE } from "../support/criu.ts";
import { PACKINGS, type PodmanArchives, podmanArchives, whyNotPodman } from "../support/podman.ts";
import { World } from "../support/world.ts";

const cluster = inject("cluster");

/** Maps whose keys are data. */
const MAPS = [/annotations$/, /environment_variables$/, /interfaces$/];

function expectMapped(found: ReadonlySet<string>, table: readonly Counterpart[]): void {
  const known = new Set(table.map(({ theirs }) => theirs));
  const bare = [...found].map((key) => key.replace(/^\[\]\./, ""));
  expect(bare.filter((key) => !known.has(key))).toEqual([]);
}

describe.skipIf(cluster === undefined)("archives that CRIU has dumped", () => {
  let world: World;
  let archives: ArchiveSet;
  beforeAll(async () => {
    world = await World.enter(cluster!, "reading");
    archives = await archiveSet(world);
  });
  afterAll(() => world?.leave());

  /** What a command of ours says in JSON. */
  async function ours<T>(...args: string[]): Promise<T> {
    const { exit, out, err } = await kcr([...args, "-o", "json"]);
    expect([exit, err]).toEqual([0, ""]);
    return JSON.parse(out) as T;
  }
  const report = (name: Dumped) => ours<Report>("inspect", archives[name], "--all", "--show-secrets");
  const theirs = async (name: Dumped) => {
    const text = await checkpointctl(["inspect", "--all", "--format", "json", archives[name]]);
    return (JSON.parse(text) as Record<string, unknown>[])[0]!;
  };

  it.each(DUMPED)("%s: kcr inspect says what checkpointctl says", async (name) => {
    expect(asCheckpointctl(await report(name))).toEqual(settled(await theirs(name)));
  });

  it.each(DUMPED)("%s: kcr mem says what checkpointctl memparse says", async (name) => {
    const rows = tableRows(await checkpointctl(["memparse", archives[name]]));
    const { processes } = await ours<{
      processes: { pid: number; name: string; memory: number; shared: number }[];
    }>("mem", archives[name]);
    const said = processes.map((process) => ({
      PID: String(process.pid),
      "PROCESS NAME": process.name,
      "MEMORY SIZE": sizeText(process.memory),
      "SHARED MEMORY SIZE": sizeText(process.shared),
    }));
    const byPid = (a: Record<string, string>, b: Record<string, string>) =>
      Number(a["PID"]) - Number(b["PID"]);
    expect(said.sort(byPid)).toEqual(rows.sort(byPid));
  });

  it("kcr mem --search finds all that checkpointctl finds, at the same addresses", async () => {
    const found = tableRows(
      await checkpointctl(["memparse", "-p", "1", "-s", "needle-4", archives.everything]),
    );
    const { hits } = await ours<{ hits: { address: string }[] }>(
      "mem",
      archives.everything,
      "-p",
      "1",
      "-s",
      "needle-4",
    );
    const addresses = hits.map(({ address }) => address.padStart(16, "0"));
    expect(found.length).toBeGreaterThan(0);
    expect(addresses).toEqual(expect.arrayContaining(found.map((row) => row["ADDRESS"])));
  });

  it("kcr inspect says what checkpointctl show and list say, of all at once", async () => {
    const paths = DUMPED.map((name) => archives[name]);
    const shown = tableRows(await checkpointctl(["show", ...paths]));
    const reports = await ours<Report[]>("inspect", ...paths);
    expect(
      reports.map(({ container, image, runtime, created, engine, size }) => ({
        CONTAINER: container.name,
        IMAGE: image.name,
        ID: container.id.slice(0, 12),
        RUNTIME: runtime,
        CREATED: created?.replace(/\.\d+/, ""),
        ENGINE: engine,
        "CHKPT SIZE": sizeText(size.images),
        "ROOT FS DIFF SIZE": sizeText(size.rootfsDiff),
      })),
    ).toEqual(shown);
  });

  it("has a place for every key of checkpointctl's JSON and every column of its tables", async () => {
    const inspected = await Promise.all(DUMPED.map(theirs));
    expectMapped(keysOf(inspected, MAPS), INSPECT);
    const [a, b] = [archives.everything, archives["everything-later"]];
    const flags = [
      "--files",
      "--sockets",
      "--ps-tree-cmd",
      "--ps-tree-env",
      "--show-unchanged",
      "--format",
      "json",
    ];
    expectMapped(keysOf(JSON.parse(await checkpointctl(["diff", ...flags, a, b])), MAPS), DIFF);

    const columns = new Set<string>();
    const see = async (command: string, args: readonly string[]) => {
      for (const column of Object.keys(tableRows(await checkpointctl(args))[0]!))
        columns.add(`${command}: ${column}`);
    };
    await see("show", ["show", a, b]);
    await see("memparse", ["memparse", a]);
    await see("memparse --search", ["memparse", "-p", "1", "-s", "needle", a]);
    const list = await listed(a);
    for (const column of Object.keys(list[0]!)) columns.add(`list: ${column}`);
    expectMapped(columns, COLUMNS);
  });

  /** checkpointctl list only knows files of the names that kubelets give. */
  async function listed(path: string): Promise<Record<string, string>[]> {
    const directory = await mkdtemp(join(tmpdir(), "kcr-list-"));
    try {
      await symlink(path, join(directory, "checkpoint-a.tar"));
      return tableRows(await checkpointctl(["list", directory]));
    } finally {
      await rm(directory, { recursive: true });
    }
  }

  it("names in that table only what there is of ours", async () => {
    const reports = await Promise.all(DUMPED.map(report));
    const keys = keysOf(reports, [/metadata\.annotations$/]);
    for (const { ours: key } of INSPECT) {
      // Of engines that are not here, and of those who have GPUs.
      if (!key.startsWith("networks")) expect([...keys], key).toContain(`[].${key}`);
    }
  });

  it("tells the processes apart: one that has ended, one that is stopped, threads, children of children", async () => {
    const { processes = [] } = await report("everything");
    const named = Map.groupBy(processes, ({ name }) => name);
    expect(processes.find(({ state }) => state === "dead")?.exit).toEqual({ code: 3 });
    expect(named.get("grandchild")?.[0]?.ppid).toBe(named.get("parent")?.[0]?.pid);
    expect(processes[0]).toMatchObject({ pid: 1, ppid: 0, threads: 4, executable: "/usr/bin/python3" });
    // checkpointctl joins arguments with blanks: what was one it does not say.
    expect(processes[0]?.arguments?.slice(3)).toEqual(["an argument", "with\ttab", ""]);
    const { processes: stopped = [] } = await report("stopped");
    expect(stopped.map(({ state }) => state).sort()).toEqual(["alive", "alive", "stopped"]);
  });

  it("reads what the kinds of files are, where checkpointctl has a number", async () => {
    const { processes = [] } = await report("everything");
    const names = processes[0]?.files?.map(({ name, deleted }) => (deleted ? `${name} (deleted)` : name));
    expect(names).toEqual(
      expect.arrayContaining([
        ...[
          "/tmp/fifo",
          "[eventfd 42]",
          "/dev/pts/0",
          "/memfd:secrets",
          "@abstract\0name",
          "/tmp/named.sock",
        ],
        ...[
          "/tmp/written",
          "/tmp/deleted (deleted)",
          "TCP [::1]:7002 LISTEN",
          "[eventpoll of 4]",
          "[timerfd]",
        ],
      ]),
    );
  });

  it("hides what looks like a secret unless it is asked for", async () => {
    const hidden = await kcr(["env", archives.shell]);
    expect(hidden.out).toContain("********");
    expect(hidden.out).not.toContain("correct horse");
    expect((await kcr(["inspect", archives.shell, "--all"])).out).not.toContain("correct horse");
    const all = await kcr(["env", archives.shell, "--show-secrets"]);
    expect(all.out).toContain("correct horse");
  });

  it("writes nothing beside the archives", async () => {
    const before = await readdir(dirname(archives.redis));
    for (const command of ["inspect", "ps", "files", "sockets", "env"]) {
      expect((await kcr([command, archives.redis])).exit).toBe(0);
    }
    expect(await readdir(dirname(archives.redis))).toEqual(before);
  });
});

describe.skipIf(cluster === undefined)("archives of Podman's", async () => {
  const whyNot = await whyNotPodman();
  let archives: PodmanArchives;
  beforeAll(async () => {
    if (whyNot === undefined) archives = await podmanArchives();
  });
  afterAll(() => archives?.[Symbol.asyncDispose]());

  it.skipIf(whyNot !== undefined).each(PACKINGS)(
    "packed with %s are read as checkpointctl reads them",
    async (packing) => {
      const path = archives.paths[packing];
      const { out } = await kcr(["inspect", path, "--all", "--show-secrets", "-o", "json"]);
      const [theirs] = JSON.parse(await checkpointctl(["inspect", "--all", "--format", "json", path]));
      expect(asCheckpointctl(JSON.parse(out) as Report)).toEqual(settled(theirs));
      expect((await kcr(["log", path, "--container"])).out).toContain("said\n");
      expect((await kcr(["fs", path, "cat", "/tmp/file"])).out).toBe("written\n");
    },
  );
});

describe.skipIf(cluster === undefined)("archives that were made up", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-made-up-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  async function inspected(name: string, entries: readonly EntrySpec[]) {
    const path = join(directory, `${name}.tar`);
    await writeFile(path, await makeTar(entries));
    const { out } = await kcr(["inspect", path, "--all", "-o", "json"]);
    const theirs = await checkpointctl(["inspect", "--all", "--format", "json", path]).then(
      (text) => (JSON.parse(text) as Record<string, unknown>[])[0]!,
      (error: Error) => error,
    );
    return { path, ours: JSON.parse(out) as Report, theirs };
  }

  /** A shell's images, with what is told of it in place of what it was dumped with. */
  async function entriesOf(
    archives: ArchiveSet,
    replaced: Readonly<Record<string, string>>,
  ): Promise<EntrySpec[]> {
    await using file = await FileBytes.open(archives.stopped);
    const tar = await readTar(file);
    const kept = [...tar.entries()].filter(({ name, type }) => type === "file" && !(name in replaced));
    return [
      ...(await Promise.all(
        kept.map(async ({ name, size }) => ({ name, content: await tar.read(name, size) })),
      )),
      { name: "checkpoint/", type: "directory" },
      ...Object.entries(replaced).map(([name, content]) => ({ name, content })),
    ];
  }

  it("by CRI-O's description are read as checkpointctl reads them", async () => {
    const labels = { "container.name": "app", "pod.name": "pod-0", "pod.namespace": "team", "pod.uid": "u" };
    const named = Object.entries(labels).map(([key, value]) => [`io.kubernetes.${key}`, value]);
    const annotations = {
      ...Object.fromEntries(named),
      "io.container.manager": "cri-o",
      "io.kubernetes.cri-o.Labels": JSON.stringify(Object.fromEntries(named)),
      "io.kubernetes.cri-o.Metadata": JSON.stringify({ name: "app", attempt: 1 }),
      "io.kubernetes.cri-o.Created": "2026-01-01T00:00:00Z",
      "io.kubernetes.cri-o.IP.0": "10.88.0.7",
    };
    const spec = JSON.stringify({
      ociVersion: "1.2.1",
      annotations,
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    });
    const { ours, theirs } = await inspected(
      "cri-o",
      await entriesOf((await lastArchiveSet())!, { "spec.dump": spec }),
    );
    expect(theirs).not.toBeInstanceOf(Error);
    expect(asCheckpointctl(ours)).toEqual(settled(theirs as Record<string, unknown>));
    expect(ours.networks).toEqual([{ addresses: ["10.88.0.7"] }]);
  });

  it("with Podman's networks are read as checkpointctl reads them", async () => {
    const eth0 = { mac_address: "0a:0b", subnets: [{ ipnet: "10.88.0.7/16", gateway: "10.88.0.1" }] };
    const eth1 = { mac_address: "0c:0d", subnets: [{ ipnet: "fd00::7/64" }] };
    const entries = await entriesOf((await lastArchiveSet())!, {
      "spec.dump": JSON.stringify({ annotations: { "io.container.manager": "libpod" } }),
      "network.status": JSON.stringify({ podman: { interfaces: { eth0, eth1 } } }),
    });
    const { ours, theirs } = await inspected("networks", entries);
    expect(asCheckpointctl(ours)).toEqual(settled(theirs as Record<string, unknown>));
    expectMapped(keysOf([theirs], MAPS), INSPECT);
  });

  it("may have names that lead elsewhere, which checkpointctl follows", async () => {
    const entries = await entriesOf((await lastArchiveSet())!, {});
    const { path, ours } = await inspected("names", [
      { name: "../x-config.dump", content: "{}" },
      ...entries,
    ]);
    expect(ours.container.name).toBe("stopped");
    expect(ours.problems).toBeUndefined();
    // It unpacks whatever has the name of an entry in its own, also outside the directory that it made for it.
    const scratch = await mkdtemp(join(directory, "scratch-"));
    await checkpointctl(["show", path], scratch);
    expect(await readdir(scratch)).toEqual(["x-config.dump"]);
  });

  it("may build upon another checkpoint, whose pages checkpointctl counts as if they were there", async () => {
    const [start, other] = [0x10000n, 0x20000n];
    const page = Buffer.alloc(PAGE);
    page.write("right\0");
    const memory = memoryImages({
      pid: 1,
      vmas: [
        { start, pages: 1 },
        { start: other, pages: 1 },
      ],
      runs: [
        { address: start, pages: 1, flags: 1 },
        { address: other, pages: 1 },
      ],
      pages: page,
      arguments: [other, other + 6n],
      exeFileId: 1,
    });
    const head = { 2: 0, 3: 1, 4: 1 };
    const images = [
      ...memory,
      image("pstree", "pstree.img", [message({ 1: 1, ...head })]),
      image("core", "core-1.img", [
        message({ 1: 1, 3: message({ 1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: "incremental" }) }),
      ]),
    ];
    const names = new Set(images.map(({ name }) => name));
    const path = join(directory, "incremental.tar");
    await writeFile(
      path,
      await makeTar([...checkpointEntries().filter(({ name }) => !names.has(name)), ...images]),
    );
    const { out } = await kcr(["ps", path, "-o", "json"]);
    expect(JSON.parse(out).processes).toMatchObject([{ arguments: ["right"] }]);
    const theirs = await checkpointctl(["inspect", "--ps-tree-cmd", "--format", "json", path]).catch(String);
    expect(theirs).not.toContain("right");
  });
});
