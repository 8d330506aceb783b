import { X509Certificate } from "node:crypto";
import {
  BUNDLE_KEY,
  TRANSFER_AUTHORITY,
  TRANSFER_CERTIFICATE_SECONDS,
  TRANSFER_SIGNER,
  TRANSFER_USAGES,
} from "../../api/agent-certificate.ts";
import { dueAt, pairOf } from "../../kube/authority.ts";
import type { Cache } from "../../kube/cache.ts";
import { createRequest, isIssuedBy, type KeyPair, pemBlocks } from "../../kube/certificates.ts";
import type { Client } from "../../kube/client.ts";
import { again, Controller, changesOf, type Outcome } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import { type ConfigMap, certificateSigningRequests } from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";
import { type Identity, nodeOf, ORGANIZATION } from "../../transfer/identity.ts";

/** How soon an answer is looked for, how long one is waited for, and how soon after a refusal another is asked for. */
const POLL_MS = 1_000;
const PATIENCE_MS = 600_000;
const REFUSED_MS = 300_000;
const LOOK_AGAIN_MS = 600_000;

export interface CertificateOptions {
  client: Client;
  node: string;
  /** kcr's own namespace. */
  namespace: string;
  /** The ConfigMap with the authorities. */
  bundles: Cache<ConfigMap>;
  log: Logger;
  metrics?: Metrics;
  now(): Date;
  /** What is shown from now on. */
  onIdentity(identity: Identity): void;
}

/**
 * Keeps the certificate that this agent shows to others: asks for one for a key that it makes and keeps in memory, and
 * for another when two thirds of its life are over, or when nobody trusts who signed it any more.
 *
 * Guarantees: no key leaves this process. What is handed on is trusted by whoever has the same authorities.
 */
export function certificateController(options: CertificateOptions): Controller {
  const { client, node, namespace, bundles, log, metrics, now, onIdentity } = options;
  const name = { namespace, name: TRANSFER_AUTHORITY };
  let held: KeyPair | undefined;
  let asked: { name: string; key: string; time: number } | undefined;
  let told: Identity | undefined;

  const reconcile = async (): Promise<Outcome> => {
    const ca = bundles.get(namespace, TRANSFER_AUTHORITY)?.data?.[BUNDLE_KEY];
    // It is heard of when it comes.
    if (ca === undefined) return again(LOOK_AGAIN_MS);
    if (asked !== undefined) {
      const answer = await look(asked, ca);
      if (answer === "wait") return again(POLL_MS);
      asked = undefined;
      if (answer === "refused") return again(REFUSED_MS);
      held = answer ?? held;
    }
    if (held === undefined || dueAt(held) <= now().getTime() || !isTrusted(held.cert, ca)) {
      asked = await ask();
      return again(POLL_MS);
    }
    if (told?.cert !== held.cert || told.ca !== ca) {
      told = { ...held, ca };
      onIdentity(told);
    }
    return again(Math.min(dueAt(held) - now().getTime(), LOOK_AGAIN_MS));
  };

  const ask = async (): Promise<NonNullable<typeof asked>> => {
    const { request, key } = createRequest({ commonName: node, organizations: [ORGANIZATION] });
    const { metadata } = await client.create(certificateSigningRequests, {
      metadata: { generateName: "kcr-agent-", labels: { "app.kubernetes.io/part-of": "kcr" } },
      spec: {
        request: Buffer.from(request).toString("base64"),
        signerName: TRANSFER_SIGNER,
        usages: TRANSFER_USAGES,
        expirationSeconds: TRANSFER_CERTIFICATE_SECONDS,
      },
    });
    return { name: metadata.name, key, time: now().getTime() };
  };

  /** What became of a request; undefined for one that has to be made again. */
  const look = async (
    { name, key, time }: NonNullable<typeof asked>,
    ca: string,
  ): Promise<KeyPair | "wait" | "refused" | undefined> => {
    const request = await client.get(certificateSigningRequests, { name }).catch(absent);
    const refusal = request?.status?.conditions?.find(({ type }) => type === "Denied" || type === "Failed");
    if (refusal !== undefined) {
      const { reason, message } = refusal;
      log.error({ request: name, reason, message }, "this agent is given no certificate");
      return "refused";
    }
    const given = request?.status?.certificate;
    if (given === undefined) {
      return request !== undefined && now().getTime() - time < PATIENCE_MS ? "wait" : undefined;
    }
    const pair = pairOf(Buffer.from(given, "base64").toString(), key);
    const isOwn = pair !== undefined && nodeOf(new X509Certificate(pair.cert), now()) === node;
    if (isOwn && isTrusted(pair.cert, ca)) return pair;
    log.error({ request: name }, "the certificate that this agent was given is not its own");
    return "refused";
  };

  const controller = new Controller({
    name: "transfer-certificate",
    log,
    metrics,
    backoff: { baseMs: 1_000, maxMs: 60_000, jitter: 0.2 },
    reconcile,
    sources: [changesOf(bundles, () => [name])],
  });
  controller.enqueue(name);
  return controller;
}

const isTrusted = (cert: string, ca: string): boolean =>
  pemBlocks(ca).some((authority) => isIssuedBy(cert, authority));
