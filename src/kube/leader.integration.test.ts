import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";
import { startRelay } from "../../test/support/relay.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { Client } from "./client.ts";
import { type LeaderOptions, LeadershipLost, runAsLeader } from "./leader.ts";
import { silent } from "./log.ts";
import { leases } from "./resources.ts";
import { orAborted } from "./signals.ts";

const reason = inject("whyNotApiServer");
const periods = { leaseMs: 3_000, renewDeadlineMs: 2_000, retryMs: 300 };
const untilAborted = (signal: AbortSignal) => orAborted(new Promise<void>(() => {}), signal).catch(() => {});

describe.skipIf(reason)("leader election", () => {
  let client: Client;
  let unique = 0;
  beforeAll(() => {
    client = Client.fromConfig({ kubeconfig: inject("kubeconfig")! });
  });

  /** A candidate that counts, in what all candidates share, who leads at each moment. */
  function candidate(
    name: string,
    identity: string,
    leading: Set<string>,
    more: Partial<LeaderOptions> = {},
    after = async () => {},
  ) {
    const stop = new AbortController();
    const lead = async (signal: AbortSignal) => {
      leading.add(identity);
      await untilAborted(signal);
      leading.delete(identity);
      await after();
    };
    const options = { client, namespace: "default", name, identity, log: silent, ...periods, ...more };
    const ended = runAsLeader(options, lead, stop.signal);
    ended.catch(() => {});
    onTestFinished(async () => {
      stop.abort();
      await ended.catch(() => {});
    });
    return { stop, ended };
  }
  const newLease = () => `lease-${process.pid}-${unique++}`;
  const holder = async (name: string) =>
    (await client.get(leases, { namespace: "default", name })).spec?.holderIdentity;

  test("of three candidates one leads; when it stops, the next one does at once", async () => {
    const name = newLease();
    const leading = new Set<string>();
    const all = new Map(["a", "b", "c"].map((identity) => [identity, candidate(name, identity, leading)]));
    for (let turn = 0; turn < 3; turn++) {
      await waitFor("one to lead", () => leading.size > 0, { intervalMs: 10 });
      const [first] = [...leading];
      expect(leading.size).toBe(1);
      expect(await holder(name)).toBe(first);
      const stopped = performance.now();
      all.get(first!)!.stop.abort();
      await expect(all.get(first!)!.ended).resolves.toBeUndefined();
      if (turn === 2) continue;
      await waitFor("the next to lead", () => leading.size === 1, { intervalMs: 10 });
      expect(performance.now() - stopped).toBeLessThan(periods.leaseMs);
    }
    expect(await holder(name)).toBe("");
    expect(
      (await client.get(leases, { namespace: "default", name })).spec?.leaseTransitions,
    ).toBeGreaterThanOrEqual(2);
  });

  test("a leader that is cut off ends before another leads", async () => {
    const name = newLease();
    const target = new URL(client.server);
    await using proxy = await startRelay({ host: "127.0.0.1", port: Number(target.port) });
    const dir = await mkdtemp(join(tmpdir(), "kube-leader-"));
    onTestFinished(() => rm(dir, { recursive: true }));
    const kubeconfig = join(dir, "config");
    const text = await readFile(inject("kubeconfig")!, "utf8");
    await writeFile(kubeconfig, text.replaceAll(client.server, `https://127.0.0.1:${proxy.port}`));

    const leading = new Set<string>();
    const cutOff = candidate(name, "cut-off", leading, { client: Client.fromConfig({ kubeconfig }) });
    await waitFor("it to lead", () => leading.has("cut-off"), { intervalMs: 10 });
    const other = candidate(name, "other", leading);
    proxy.stall();
    proxy.refuse(true);
    await expect(cutOff.ended).rejects.toThrow(LeadershipLost);
    expect([...leading]).toEqual([]);
    await waitFor("the other to lead", () => leading.has("other"), { intervalMs: 10, timeoutMs: 10_000 });
    other.stop.abort();
    await other.ended;
  });

  test("a lease that runs out is taken then, and not when it would be looked at next", async () => {
    const name = newLease();
    const rarely = { leaseMs: 4_000, renewDeadlineMs: 3_900, retryMs: 3_300 };
    const spec = { holderIdentity: "dead", leaseDurationSeconds: 4 };
    await client.create(leases, { metadata: { namespace: "default", name }, spec });
    const leading = new Set<string>();
    const began = performance.now();
    candidate(name, "next", leading, rarely);
    await waitFor("it to lead", () => leading.has("next"), { intervalMs: 10 });
    expect(performance.now() - began).toBeLessThan(2 * rarely.retryMs);
  });

  test("a leader whose work does not heed the signal is deposed all the same", async () => {
    const name = newLease();
    const deaf = runAsLeader(
      { client, namespace: "default", name, identity: "deaf", log: silent, ...periods },
      () => new Promise(() => {}),
      new AbortController().signal,
    );
    await waitFor("it to lead", async () => (await holder(name)) === "deaf", { intervalMs: 50 });
    const lease = await client.get(leases, { namespace: "default", name });
    const takeOver = { op: "replace" as const, path: "/spec/holderIdentity", value: "usurper" };
    await client.patch(leases, lease.metadata as { name: string }, { type: "json", body: [takeOver] });
    await expect(deaf).rejects.toThrow(LeadershipLost);
    await expect(deaf).rejects.toMatchObject({ cause: new Error("usurper has taken it") });
  });

  test("the lease is kept while the work winds down, and given back only then", async () => {
    const name = newLease();
    const leading = new Set<string>();
    const windDown = Promise.withResolvers<void>();
    const slow = candidate(name, "slow", leading, {}, () => windDown.promise);
    await waitFor("it to lead", () => leading.has("slow"), { intervalMs: 10 });
    slow.stop.abort();
    const renewal = async () => (await client.get(leases, { namespace: "default", name })).spec?.renewTime;
    const before = await renewal();
    await waitFor("a renewal", async () => (await renewal()) !== before, { timeoutMs: periods.leaseMs });
    expect(await holder(name)).toBe("slow");
    windDown.resolve();
    await slow.ended;
    expect(await holder(name)).toBe("");
  });

  test("work that fails gives the lease back, and its error is the result", async () => {
    const name = newLease();
    const options = { client, namespace: "default", name, identity: "broken", log: silent, ...periods };
    const broken = runAsLeader(
      options,
      () => Promise.reject(new Error("broken")),
      new AbortController().signal,
    );
    await expect(broken).rejects.toThrow("broken");
    expect(await holder(name)).toBe("");
  });
});
