import { readdir } from "node:fs/promises";
import { type Checkpoint, RESTORABLE } from "../../src/api/checkpoint.ts";
import { findCondition } from "../../src/api/conditions.ts";
import { isGood, isTerminal, requests, schedules } from "../../src/api/kinds.ts";
import { deployments, type KubeObject, type Resource, statefulSets } from "../../src/kube/resources.ts";
import { absent } from "../../src/kube/write.ts";
import { Installation } from "../support/installation.ts";
import { layoutOf } from "../support/transfer.ts";
import { waitFor } from "../support/wait-for.ts";
import type { World } from "../support/world.ts";
import type { Observer } from "./observer.ts";
import { scheduleOf, type Workload } from "./workloads.ts";

/** How long what was begun may take to end when nothing is broken any more. */
const PATIENCE_MS = 240_000;

/** Has no more checkpoints taken by themselves. */
export async function suspend(world: World, workloads: readonly Workload[]): Promise<void> {
  for (const workload of workloads) await world.amend(scheduleOf(workload), { suspend: true });
}

/** Waits until every object is at its end. Errors: those that are stuck, as they are. */
export async function allEnded(observer: Observer): Promise<void> {
  const isOpen = (checkpoint: Checkpoint) => {
    const { phase } = checkpoint.status ?? {};
    // Good by its copy, one still waits for its image.
    return phase !== "Failed" && (phase !== "ImageBuilt" || !isGood(checkpoint));
  };
  const open = (): KubeObject[] => [
    ...observer.requests.filter((request) => isGoing(request) || !isTerminal(request)),
    ...observer.checkpoints.filter((checkpoint) => isGoing(checkpoint) || isOpen(checkpoint)),
  ];
  await waitFor(
    "all objects to be at their end",
    async () => {
      await observer.look();
      return open().length === 0;
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 1_000 },
  ).catch((error) => {
    throw new Error(`${error.message}\n${JSON.stringify(open(), undefined, 2)}`, { cause: error });
  });
}

const isGoing = ({ metadata }: KubeObject): boolean => metadata.deletionTimestamp !== undefined;

/** What may be left in a cluster of a namespace's checkpoints, and is not to be. */
export interface Orphans {
  /** Archives in the kubelets' directories, `node/name`. */
  archives: string[];
  /** Copies and half-made copies in kcr's directories. */
  copies: string[];
  /** Images of Checkpoints that are gone. */
  images: string[];
}

/** Counts what no Checkpoint needs: archives once all are at their end, copies and images of those that are gone. */
export async function orphansOf(world: World, observer: Observer): Promise<Orphans> {
  const kcr = new Installation(world);
  const there = new Set(observer.checkpoints.map(({ metadata }) => metadata.uid));
  const digests = new Set(observer.checkpoints.map(({ status }) => status?.digest?.replace("sha256:", "")));
  const archives: string[] = [];
  const copies: string[] = [];
  for (const { name } of world.cluster.nodes) {
    archives.push(...(await kcr.ownArchives(name)).map((archive) => `${name}/${archive}`));
    const layout = layoutOf(world, name);
    for (const directory of [layout.copies, layout.tmp, layout.allIncoming]) {
      const names = await readdir(directory).catch(() => []);
      const left = directory === layout.copies ? names.filter((copy) => !digests.has(copy)) : names;
      copies.push(...left.map((copy) => `${directory}/${copy}`));
    }
  }
  await using registry = kcr.registry();
  const images: string[] = [];
  for (const [uid, { repository, digest }] of observer.images) {
    if (there.has(uid)) continue;
    if ((await registry.headManifest(repository, digest)) !== undefined)
      images.push(`${repository}@${digest}`);
  }
  return { archives, copies, images };
}

/** Waits until nothing is left over. Errors: what is. */
export async function noOrphans(world: World, observer: Observer): Promise<void> {
  let orphans: Orphans = { archives: [], copies: [], images: [] };
  await waitFor(
    "nothing to be left over",
    async () => {
      await observer.look();
      orphans = await orphansOf(world, observer);
      return Object.values(orphans).every((list) => list.length === 0);
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 2_000 },
  ).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(orphans, undefined, 2)}`, { cause: error });
  });
}

/** Deletes workloads and requests, and with them all Checkpoints. Errors: those that do not go. */
export async function clear(world: World, workloads: readonly Workload[], observer: Observer): Promise<void> {
  const { client, namespace } = world;
  const remove = <T extends KubeObject>(resource: Resource<T>, name: string) =>
    client.delete(resource, { namespace, name }, { propagationPolicy: "Background" }).catch(absent);
  for (const { name, kind } of workloads) {
    await (kind === "Deployment" ? remove(deployments, name) : remove(statefulSets, name));
  }
  for (const { metadata } of observer.requests) await remove(requests, metadata.name);
  await waitFor(
    "all Checkpoints to go",
    async () => {
      await observer.look();
      const { items } = await client.list(schedules, { namespace });
      return observer.checkpoints.length + observer.requests.length + items.length === 0;
    },
    { timeoutMs: PATIENCE_MS, intervalMs: 1_000 },
  );
}

/** Why requests and Checkpoints failed: how often for each reason, and what one of them said. */
export function reasonsOf({
  requests,
  checkpoints,
}: Observer): Record<string, { count: number; said: string }> {
  const failed = [
    ...requests
      .filter(({ status }) => status?.phase === "Failed")
      .map(({ status }) => ({ reason: status?.reason, said: status?.message })),
    ...checkpoints
      .filter((checkpoint) => !isGood(checkpoint))
      .map(({ status }) => findCondition(status?.conditions, RESTORABLE))
      .map((condition) => ({ reason: condition?.reason, said: condition?.message })),
  ];
  const byReason = Map.groupBy(failed, ({ reason = "unknown" }) => reason);
  return Object.fromEntries(
    [...byReason].map(([reason, all]) => [reason, { count: all.length, said: all[0]?.said ?? "" }]),
  );
}
