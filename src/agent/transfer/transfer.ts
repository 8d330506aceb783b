import { TRANSFER_AUTHORITY } from "../../api/agent-certificate.ts";
import type { Checkpoint } from "../../api/checkpoint.ts";
import { KcrError } from "../../api/errors.ts";
import type { Settings } from "../../api/settings.ts";
import type { Identity as ArchiveIdentity } from "../../archive/metadata.ts";
import { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import type { Logger } from "../../kube/log.ts";
import { type Metrics, noMetrics } from "../../kube/metrics.ts";
import { type ConfigMap, configMaps, pods } from "../../kube/resources.ts";
import { follow, orAborted } from "../../kube/signals.ts";
import { type CopyIndex, contentDigest } from "../../store/copy.ts";
import { Peer } from "../../transfer/client.ts";
import { TransferError } from "../../transfer/errors.ts";
import type { Identity } from "../../transfer/identity.ts";
import { serveCopies, type TransferServer } from "../../transfer/server.ts";
import { Throttle } from "../../transfer/throttle.ts";
import type { AgentMetricName } from "../metrics.ts";
import { copyOf } from "../plan/copies.ts";
import { isDiskFault } from "../store/disk.ts";
import { originalPages } from "../store/original-pages.ts";
import type { LocalStore } from "../store/store.ts";
import { certificateController } from "./certificate.ts";
import { doubtController } from "./doubts.ts";
import { downloadReason } from "./download-reason.ts";
import { nodesWith } from "./fetch.ts";
import { Places } from "./places.ts";
import { reasons } from "./reasons.ts";

/** Where an agent answers others. */
export interface Address {
  host: string;
  port: number;
}

export interface TransferOptions {
  client: Client;
  node: string;
  /** kcr's own namespace. */
  namespace: string;
  settings: Settings["transfer"];
  store: LocalStore;
  /** Where this agent listens; port 0: any that is free. */
  listen: { port: number; host?: string };
  /** Where a node's agent listens; default: its pod, at the port at which this one listens. */
  find?: (node: string, signal: AbortSignal) => Promise<Address | undefined>;
  log: Logger;
  metrics?: Metrics<AgentMetricName>;
  now(): Date;
}

/** Label of the agents' pods. */
const AGENT_LABEL = "app.kubernetes.io/name=kcr-agent";

/**
 * Copies from node to node: hands out this node's to agents that have a reason (reasons.ts), and to the download part
 * while somebody wants to read one (download-reason.ts); fetches others'.
 *
 * Guarantees: nothing is sent or taken before this agent has a certificate. Of what comes only that is used which the
 * Checkpoint's status says, by its digest, and which is of the Checkpoint's own container.
 */
export class Transfer {
  readonly #options: TransferOptions;
  readonly #metrics: Metrics<AgentMetricName>;
  readonly #places: Places;
  readonly #throttles: { sent: Throttle; received: Throttle };
  #identity: Identity | undefined;
  #server: TransferServer | undefined;

  constructor(options: TransferOptions) {
    const { maxBytesPerSecond, atOnce } = options.settings;
    this.#options = options;
    this.#metrics = options.metrics ?? noMetrics;
    this.#places = new Places(atOnce);
    this.#throttles = {
      sent: new Throttle(maxBytesPerSecond),
      received: new Throttle(maxBytesPerSecond),
    };
  }

  /** Where it listens; undefined as long as it has no certificate. */
  get port(): number | undefined {
    return this.#server?.port;
  }

  /** Listens until the signal aborts. Errors: a port that is taken. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, namespace, log, metrics } = this.#options;
    const bundles = new Cache<ConfigMap>({
      client,
      log,
      metrics,
      resource: configMaps,
      namespace,
      fieldSelector: `metadata.name=${TRANSFER_AUTHORITY}`,
    });
    using running = follow(signal);
    const { promise: first, resolve: begin } = Promise.withResolvers<Identity>();
    const certificates = certificateController({
      ...this.#options,
      bundles,
      onIdentity: (identity) => {
        this.#identity = identity;
        this.#server?.setIdentity(identity);
        begin(identity);
      },
    });
    const doubts = doubtController(this.#options);
    const parts = [bundles, certificates, doubts].map((part) => part.run(running.signal));
    const serving = this.#serve(first, (copy) => doubts.enqueue({ name: copy }), running.signal);
    try {
      await Promise.all([...parts, serving]);
    } finally {
      running.abort(new Error("the transfer ends"));
      await Promise.allSettled([...parts, serving]);
    }
  }

  /**
   * Makes a copy of a Checkpoint of what another node has of it. `accept` is shown whose the archive says it is.
   *
   * Errors: TransferError of the node asked last; KcrError CopyMissing where no node says that it has a copy, and those
   * of {@link LocalStore.addFiles}.
   */
  async fetch(
    checkpoint: Checkpoint,
    signal: AbortSignal,
    accept: (name: string, identity: ArchiveIdentity) => void,
  ): Promise<CopyIndex> {
    const { name } = checkpoint.metadata;
    using _place = await this.#places.take(signal);
    let last: unknown = new KcrError("CopyMissing", `no other node has a copy of Checkpoint ${name}`);
    for (const node of nodesWith(checkpoint, this.#options.node)) {
      try {
        const index = await this.#fetchFrom(node, checkpoint, signal, accept);
        this.#metrics.increment("kcr_transfer_copies_total", { result: "fetched" });
        return index;
      } catch (error) {
        signal.throwIfAborted();
        const result = error instanceof TransferError ? error.code : "failed";
        this.#metrics.increment("kcr_transfer_copies_total", { result });
        this.#options.log.warn({ checkpoint: name, from: node, err: error }, "a copy could not be fetched");
        last = error;
        if (isDiskFault(error)) break;
      }
    }
    throw last;
  }

  async #fetchFrom(
    node: string,
    checkpoint: Checkpoint,
    signal: AbortSignal,
    accept: (name: string, identity: ArchiveIdentity) => void,
  ): Promise<CopyIndex> {
    const { store, log, find = (...wanted) => this.#findAgent(...wanted) } = this.#options;
    const copy = copyOf(checkpoint) ?? "";
    if (this.#identity === undefined) {
      throw new TransferError("unreachable", "this agent has no certificate yet");
    }
    const address = await find(node, signal);
    if (address === undefined) throw new TransferError("unreachable", `node ${node} has no agent that runs`);
    using peer = new Peer({
      ...address,
      node,
      identity: () => this.#identity!,
      throttle: this.#throttles.received,
      onReceived: (bytes) => this.#count("received", bytes),
    });
    try {
      const { archive, files, shared } = await peer.index(copy, signal);
      if (contentDigest({ archive, files, shared }) !== checkpoint.status?.contentDigest) {
        throw new TransferError("damaged", `node ${node}: its copy ${copy} is not what the Checkpoint says`);
      }
      const name = `the copy of node ${node}`;
      const index = await store.addFiles(
        { name, archive, files, shared },
        (file, path, limit) => peer.fetch(copy, file, path, limit),
        signal,
        (identity) => accept(name, identity),
      );
      log.info(
        { copy, from: node, checkpoint: checkpoint.metadata.name },
        "a copy was fetched from its node",
      );
      return index;
    } catch (error) {
      if (error instanceof TransferError && error.code === "damaged") await this.#doubt(peer, copy, signal);
      throw error;
    }
  }

  /** So that the node with the damaged copy knows. What is wrong here is wrong whether it hears of it or not. */
  async #doubt(peer: Peer, copy: string, signal: AbortSignal): Promise<void> {
    try {
      await peer.doubt(copy, signal);
    } catch (err) {
      this.#options.log.warn({ copy, err }, "a node could not be told that its copy is damaged");
    }
  }

  async #serve(
    identity: Promise<Identity>,
    onDoubt: (copy: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, settings, listen, log } = this.#options;
    const [forRestore, forDownload] = [reasons(this.#options), downloadReason(this.#options)];
    try {
      const server = await serveCopies({
        sharedPages: originalPages,
        ...listen,
        identity: await orAborted(identity, signal),
        layout: store.layout,
        mayHave: (caller, ...asked) =>
          caller.type === "node" ? forRestore(caller.node, ...asked) : forDownload(...asked),
        atOnce: settings.atOnce,
        throttle: this.#throttles.sent,
        onDoubt,
        onSent: (bytes) => this.#count("sent", bytes),
        onAnswered: (status, error) => {
          this.#metrics.increment("kcr_transfer_requests_total", { code: `${status}` });
          if (error !== undefined) log.error({ err: error }, "another agent could not be answered");
        },
      });
      this.#server = server;
      // One that came while it began to listen.
      if (this.#identity !== undefined) server.setIdentity(this.#identity);
      log.info({ port: server.port }, "other agents are answered");
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    await orAborted(new Promise<never>(() => {}), signal).catch(() => {});
    await this.#server.close();
    this.#server = undefined;
  }

  #count(direction: "sent" | "received", bytes: number): void {
    this.#metrics.increment("kcr_transfer_bytes_total", { direction }, bytes);
  }

  async #findAgent(node: string, signal: AbortSignal): Promise<Address | undefined> {
    const { client, namespace, listen } = this.#options;
    const { items } = await client.list(pods, {
      namespace,
      labelSelector: AGENT_LABEL,
      fieldSelector: `spec.nodeName=${node}`,
      signal,
    });
    const agent = items.find(
      ({ metadata, status }) =>
        metadata.deletionTimestamp === undefined && status?.phase === "Running" && status.podIP !== undefined,
    );
    return agent && { host: agent.status?.podIP ?? "", port: listen.port };
  }
}
