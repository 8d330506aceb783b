import { mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { COLUMNS, type Counterpart, DIFF, INSPECT } from "../../scripts/checkpointctl.ts";
import type { Report } from "../../src/cli/inspect/report.ts";
import { kcr } from "../../src/cli/testing/io.ts";
import { type ArchiveSet, archiveSet, DUMPED, type Dumped } from "../support/archive-set.ts";
import {
  asCheckpointctl,
  checkpointctl,
  keysOf,
  settled,
  sizeText,
  tableRows,
} from "../support/checkpointctl.ts";
import { PACKINGS, type PodmanArchives, podmanArchives, whyNotPodman } from "../support/podman.ts";
import { World } from "../support/world.ts";

const cluster = inject("cluster");

/** Maps whose keys are data. */
const MAPS = [/annotations$/, /environment_variables$/, /interfaces$/];

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

  function expectMapped(found: ReadonlySet<string>, table: readonly Counterpart[]): void {
    const known = new Set(table.map(({ theirs }) => theirs));
    const bare = [...found].map((key) => key.replace(/^\[\]\./, ""));
    expect(bare.filter((key) => !known.has(key))).toEqual([]);
  }

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
