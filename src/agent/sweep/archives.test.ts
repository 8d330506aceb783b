import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { checkpoints, clusterRetentions, requests } from "../../api/kinds.ts";
import { silent } from "../../kube/log.ts";
import type { Resource } from "../../kube/resources.ts";
import { Archives } from "../archives.ts";
import { sweepForeign } from "./archives.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-sweep-"));
});
afterEach(() => rm(directory, { recursive: true }));

const now = new Date("2026-03-02T13:00:00Z");
const name = (pod: string) => `checkpoint-${pod}_shop-app-2026-03-02T10:00:00Z.tar`;
async function archive(pod: string, containerId: string): Promise<void> {
  const path = join(directory, name(pod));
  await writeCheckpoint(path, { podName: pod, podNamespace: "shop", containerName: "app", containerId });
  const made = new Date("2026-03-02T10:00:05Z");
  await utimes(path, made, made);
}

test("what a dump left behind goes, what others made when the cluster says so, and nothing on an error", async () => {
  await archive("ours", "run-1");
  await archive("restarted", "run-2");
  await archive("foreign", "run-3");
  const failed = (pod: string, containerID: string) => ({
    metadata: { name: pod, namespace: "shop" },
    spec: { podReference: { name: pod } },
    status: {
      phase: "Failed",
      containerName: "app",
      startTime: "2026-03-02T10:00:00Z",
      source: { lineage: { containerID } },
    },
  });
  let policies: object[] | Error = new Error("503");
  const listAll = async ({ plural }: Resource) => {
    if (plural === clusterRetentions.plural) {
      if (policies instanceof Error) throw policies;
      return { items: policies };
    }
    return {
      items: plural === requests.plural ? [failed("ours", "run-1"), failed("restarted", "run-1")] : [],
    };
  };
  const context = {
    node: "n",
    client: { listAll },
    archives: new Archives(directory),
    log: silent,
    now: () => now,
  } as unknown as Parameters<typeof sweepForeign>[0];
  const sweep = () => sweepForeign(context, new AbortController().signal);

  await expect(sweep()).rejects.toThrow("503");
  expect(await readdir(directory)).toHaveLength(3);
  policies = [
    { spec: { foreignArchives: { maxAge: "2h" }, dryRun: true } },
    { spec: { foreignArchives: { maxAge: "2h" }, namespaceSelector: { matchLabels: { tier: "test" } } } },
    { spec: {} },
  ];
  await sweep();
  expect((await readdir(directory)).sort()).toEqual([name("foreign"), name("restarted")]);
  policies = [
    { spec: { foreignArchives: { maxAge: "9h" } } },
    { spec: { foreignArchives: { maxAge: "150m" } } },
  ];
  await sweep();
  expect(await readdir(directory)).toEqual([]);
});

test("a request that ends with its Checkpoint while it is asked about leaves nothing behind", async () => {
  await archive("ours", "run-1");
  let isOver = false;
  const listAll = async ({ plural }: Resource) => {
    if (plural === requests.plural) {
      isOver = true;
      const source = { lineage: { containerID: "run-1" } };
      const status = { containerName: "app", startTime: "2026-03-02T10:00:00Z", phase: "Failed", source };
      return {
        items: [{ metadata: { namespace: "shop" }, spec: { podReference: { name: "ours" } }, status }],
      };
    }
    const made = isOver && plural === checkpoints.plural;
    return { items: made ? [{ spec: { checkpointData: name("ours") } }] : [] };
  };
  const archives = new Archives(directory);
  const context = { node: "n", client: { listAll }, archives, log: silent, now: () => now };
  await sweepForeign(context as never, new AbortController().signal);
  expect(await readdir(directory)).toEqual([name("ours")]);
});
