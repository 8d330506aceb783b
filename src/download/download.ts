import {
  BUNDLE_KEY,
  DOWNLOAD_USAGES,
  TRANSFER_AUTHORITY,
  TRANSFER_CERTIFICATE_SECONDS,
  TRANSFER_SIGNER,
} from "../api/agent-certificate.ts";
import type { Checkpoint } from "../api/checkpoint.ts";
import type { Settings } from "../api/settings.ts";
import { Cache } from "../kube/cache.ts";
import type { Client } from "../kube/client.ts";
import { issuedCertificate } from "../kube/issued.ts";
import type { Logger } from "../kube/log.ts";
import { type ConfigMap, configMaps, pods } from "../kube/resources.ts";
import { follow, orAborted } from "../kube/signals.ts";
import { TransferError } from "../transfer/errors.ts";
import { DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION, type Identity, isDownloads } from "../transfer/identity.ts";
import { Throttle } from "../transfer/throttle.ts";
import { Archives, type Place } from "./archives.ts";
import { nodeWithCopy, openCopy } from "./copy.ts";
import { grants } from "./grants.ts";
import { hasImage, openImage } from "./image.ts";
import { serveDownloads } from "./server.ts";

export interface DownloadOptions {
  client: Client;
  settings: Settings;
  /** kcr's own namespace, where the agents are and the authorities of their certificates. */
  system: string;
  /** Where it listens; 0: any that is free. */
  port: number;
  /** Where agents answer. */
  agentPort: number;
  /** Where a node's agent answers; default: its pod. */
  findAgent?: (node: string, signal: AbortSignal) => Promise<{ host: string; port: number } | undefined>;
  log: Logger;
  signal: AbortSignal;
  onListening?(port: number): void;
}

/**
 * The download part: gives the archive of a Checkpoint to who has the token of a CheckpointDownload for it, from the
 * node that has a copy or from the registry.
 *
 * Guarantees: it listens on one port of the pod's loopback. It reads objects and writes none but its own requests for a
 * certificate; the certificate lets it read copies for which there is a CheckpointDownload, and no others.
 * Errors: a port that is taken.
 */
export async function runDownload(options: DownloadOptions): Promise<void> {
  const { client, settings, log, system, signal } = options;
  const now = () => new Date();
  const bundles = new Cache<ConfigMap>({
    client,
    log,
    resource: configMaps,
    namespace: system,
    fieldSelector: `metadata.name=${TRANSFER_AUTHORITY}`,
  });
  let identity: Identity | undefined;
  const certificate = issuedCertificate({
    name: "download-certificate",
    client,
    log,
    now,
    signerName: TRANSFER_SIGNER,
    subject: { commonName: DOWNLOAD_NAME, organizations: [DOWNLOAD_ORGANIZATION] },
    usages: DOWNLOAD_USAGES,
    expirationSeconds: TRANSFER_CERTIFICATE_SECONDS,
    generateName: "kcr-download-",
    labels: { "app.kubernetes.io/part-of": "kcr" },
    bundles,
    bundle: { namespace: system, name: TRANSFER_AUTHORITY, key: BUNDLE_KEY },
    isOwn: (given) => isDownloads(given, now()),
    onIdentity(given) {
      identity = given;
      log.info({}, "there is a certificate for agents");
    },
  });

  const throttle = new Throttle(settings.transfer.maxBytesPerSecond);
  const find = options.findAgent ?? ((node, limit) => findAgent(options, node, limit));
  const places = (checkpoint: Checkpoint): Place[] => {
    const node = settings.transfer.enabled ? nodeWithCopy(checkpoint) : undefined;
    const copy = node === undefined ? [] : [{ name: node, open: openFrom(checkpoint, node) }];
    if (!hasImage(checkpoint, settings)) return copy;
    return [...copy, { name: "registry", open: (limit) => openImage(checkpoint, settings, limit) }];
  };
  const openFrom = (checkpoint: Checkpoint, node: string) => (limit: AbortSignal) => {
    if (identity === undefined)
      throw new TransferError("unreachable", "there is no certificate for agents yet");
    return openCopy(checkpoint, node, { identity: () => identity!, throttle, find }, limit);
  };
  await using archives = new Archives({ places, log, now: () => performance.now() });

  using running = follow(signal);
  const parts = settings.transfer.enabled
    ? [bundles.run(running.signal), certificate.run(running.signal)]
    : [];
  const server = await serveDownloads({
    port: options.port,
    grant: grants({ client, now }),
    read: (...wanted) => archives.with(...wanted),
    now: Date.now,
    onAnswered: ({ error, ...answer }) => log.info({ ...answer, err: error }, "a download was answered"),
    onError: (error) => log.error({ err: error }, "a download could not be answered"),
  });
  options.onListening?.(server.port);
  log.info({ port: server.port }, "downloads are answered");
  try {
    await Promise.race([orAborted(new Promise<never>(() => {}), signal), Promise.all(parts).then(forever)]);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    running.abort(new Error("the download part ends"));
    await server.close();
    await Promise.allSettled(parts);
  }
}

const forever = (): Promise<never> => new Promise(() => {});

async function findAgent(
  { client, system, agentPort }: DownloadOptions,
  node: string,
  signal: AbortSignal,
): Promise<{ host: string; port: number } | undefined> {
  const { items } = await client.list(pods, {
    namespace: system,
    labelSelector: "app.kubernetes.io/name=kcr-agent",
    fieldSelector: `spec.nodeName=${node}`,
    signal,
  });
  const agent = items.find(
    ({ metadata, status }) =>
      metadata.deletionTimestamp === undefined && status?.phase === "Running" && status.podIP !== undefined,
  );
  return agent && { host: agent.status?.podIP ?? "", port: agentPort };
}
