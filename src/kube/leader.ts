import type { CallOptions, Client } from "./client.ts";
import { isAlreadyExists, isConflict, isNotFound } from "./errors.ts";
import type { Logger } from "./log.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { type Lease, leases } from "./resources.ts";
import { delay, follow } from "./signals.ts";
import { microTime } from "./time.ts";

export interface LeaderOptions {
  client: Client;
  /** The Lease's. */
  namespace: string;
  name: string;
  /** Who this process is: unlike any other's, and unlike its own after a restart. */
  identity: string;
  /** How long others wait after the last renewal they saw before they take over, in milliseconds. */
  leaseMs?: number;
  /** How long a leader tries to renew before it gives up, in milliseconds; shorter than `leaseMs`. */
  renewDeadlineMs?: number;
  /** How long between attempts to acquire or renew, in milliseconds; shorter than `renewDeadlineMs`. */
  retryMs?: number;
  log: Logger;
  metrics?: Metrics;
}

/** The process does not lead any more and must not go on as if it did. */
export class LeadershipLost extends Error {
  override readonly name = "LeadershipLost";
}

/**
 * Waits until this process leads, then runs `lead` for as long as it does.
 *
 * Flow: acquire the Lease when it is free, given back, or not renewed for `leaseMs` by this process's own monotonic
 * clock (other machines' clocks are never compared); renew it every `retryMs`, while `lead` is winding down too;
 * give it back when `lead` has ended.
 *
 * Guarantees: `lead`'s signal aborts before others may take over, as far as this process runs at all. After a lost
 * lease this rejects with {@link LeadershipLost}, at the latest when others may lead, whether `lead` has ended or not:
 * the program must exit then.
 *
 * Caveats: a Lease does not fence. A process that was frozen wakes up with its next write before it looks at the
 * clock; each write has to carry what it was decided on (a resourceVersion, a uid, a name that only one can create).
 *
 * Errors: what `lead` throws; the lease is given back then.
 */
export async function runAsLeader(
  options: LeaderOptions,
  lead: (signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { log, metrics = noMetrics, name, identity } = options;
  const elector = new Elector(options);
  const labels = { name };
  metrics.set("leader_election_master_status", labels, 0);
  try {
    await elector.acquire(signal);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  log.info({ lease: name, identity }, "leading");
  metrics.set("leader_election_master_status", labels, 1);

  using leading = follow(signal);
  using renewing = follow(undefined);
  const work = lead(leading.signal).finally(() => renewing.abort(new Error("nothing is left to lead")));
  work.catch(() => {});
  try {
    await elector.renewUntilLost(renewing.signal);
  } catch (error) {
    if (!renewing.signal.aborted) {
      metrics.set("leader_election_master_status", labels, 0);
      const lost = new LeadershipLost(`lease ${name} was lost`, { cause: error });
      log.error({ lease: name, identity, err: lost }, "not leading any more");
      leading.abort(lost);
      using grace = follow(undefined);
      const late = delay(elector.msUntilOthersMayLead(), grace.signal).catch(() => {});
      await Promise.race([work.catch(() => {}), late]);
      grace.abort(lost);
      throw lost;
    }
  }
  metrics.set("leader_election_master_status", labels, 0);
  await elector.release();
  log.info({ lease: name, identity }, "gave the lead back");
  await work;
}

/** One candidate's view of the Lease. */
class Elector {
  readonly #options: LeaderOptions;
  readonly #leaseMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryMs: number;
  /** The Lease as it was last seen to change, and when that was. */
  #seen: { lease: Lease; at: number } | undefined;
  /** Start of the last request that renewed. */
  #renewedAt = 0;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#leaseMs = options.leaseMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
    if (!(this.#leaseMs > this.#renewDeadlineMs && this.#renewDeadlineMs > this.#retryMs)) {
      throw new TypeError("a lease must outlast its renew deadline, and that its retry period");
    }
  }

  async acquire(signal: AbortSignal): Promise<void> {
    while (!(await this.#try(this.#renewDeadlineMs, signal))) {
      const retryMs = this.#retryMs * (1 + 0.2 * Math.random());
      await delay(Math.min(retryMs, this.#msUntilExpired()), signal);
    }
  }

  /** Errors: always; the signal's reason, or why the lease is lost. */
  async renewUntilLost(signal: AbortSignal): Promise<never> {
    const msLeft = () => this.#renewedAt + this.#renewDeadlineMs - performance.now();
    while (true) {
      await delay(Math.min(this.#retryMs, msLeft()), signal);
      if (msLeft() <= 0) throw new Error(`it could not be renewed within ${this.#renewDeadlineMs} ms`);
      if (!(await this.#try(msLeft(), signal)) && this.#heldByAnother()) {
        throw new Error(`${this.#seen?.lease.spec?.holderIdentity} has taken it`);
      }
    }
  }

  msUntilOthersMayLead(): number {
    return Math.max(0, this.#renewedAt + this.#leaseMs - performance.now());
  }

  /** Gives the lease back, so that the next one need not wait. Failing that, it runs out. */
  async release(): Promise<void> {
    const { client, log, name } = this.#options;
    const lease = this.#seen?.lease;
    if (!lease || this.#heldByAnother()) return;
    const now = microTime();
    const spec = {
      ...lease.spec,
      holderIdentity: "",
      leaseDurationSeconds: 1,
      renewTime: now,
      acquireTime: now,
    };
    try {
      await client.replace(leases, { ...lease, spec }, { timeoutMs: this.#retryMs });
    } catch (error) {
      log.warn({ lease: name, err: error }, "the lease could not be given back; it will run out");
    }
  }

  /** One attempt to hold the lease; whether it is held now. Errors: the signal's reason. */
  async #try(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const { client, namespace, name, log } = this.#options;
    const started = performance.now();
    const call = { signal, timeoutMs };
    try {
      const lease = await this.#read(call);
      if (!lease) {
        const spec = this.#claim(undefined);
        this.#hold(await client.create(leases, { metadata: { namespace, name }, spec }, call), started);
        return true;
      }
      this.#observe(lease);
      if (this.#heldByAnother() && !this.#expired()) return false;
      // With its resourceVersion in it: of two that try, the server lets one through.
      this.#hold(await client.replace(leases, { ...lease, spec: this.#claim(lease) }, call), started);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (isConflict(error) || isAlreadyExists(error))
        log.debug({ lease: name, err: error }, "another was faster");
      else log.warn({ lease: name, err: error }, "could not acquire or renew the lease");
      return false;
    }
  }

  async #read(call: CallOptions): Promise<Lease | undefined> {
    const { client, namespace, name } = this.#options;
    try {
      return await client.get(leases, { namespace, name }, call);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #claim(lease: Lease | undefined): NonNullable<Lease["spec"]> {
    const { identity } = this.#options;
    const now = microTime();
    const mine = lease?.spec?.holderIdentity === identity;
    return {
      ...lease?.spec,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#leaseMs / 1000),
      renewTime: now,
      acquireTime: mine ? lease?.spec?.acquireTime : now,
      leaseTransitions: (lease?.spec?.leaseTransitions ?? 0) + (lease && !mine ? 1 : 0),
    };
  }

  #hold(lease: Lease, started: number): void {
    this.#seen = { lease, at: performance.now() };
    this.#renewedAt = started;
  }

  #observe(lease: Lease): void {
    if (this.#seen?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#seen = { lease, at: performance.now() };
  }

  #heldByAnother(): boolean {
    const holder = this.#seen?.lease.spec?.holderIdentity;
    return holder !== undefined && holder !== "" && holder !== this.#options.identity;
  }

  /** By the holder's own word on how long its lease lasts. */
  #expired(): boolean {
    return this.#seen === undefined || performance.now() > this.#expiresAt(this.#seen);
  }

  /** Until the very moment at which it may be taken: infinitely long once it may be. */
  #msUntilExpired(): number {
    if (this.#seen === undefined || this.#expired()) return Number.POSITIVE_INFINITY;
    return this.#expiresAt(this.#seen) - performance.now() + 1;
  }

  #expiresAt({ lease, at }: { lease: Lease; at: number }): number {
    const seconds = lease.spec?.leaseDurationSeconds ?? this.#leaseMs / 1000;
    return at + seconds * 1000;
  }
}
