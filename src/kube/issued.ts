import { X509Certificate } from "node:crypto";
import { dueAt, pairOf } from "./authority.ts";
import type { Cache } from "./cache.ts";
import { createRequest, isIssuedBy, type KeyPair, pemBlocks, type Subject } from "./certificates.ts";
import type { Client } from "./client.ts";
import { again, Controller, changesOf, type Outcome } from "./controller.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import { type ConfigMap, certificateSigningRequests } from "./resources.ts";
import { absent } from "./write.ts";

/** How soon an answer is looked for, how long one is waited for, and how soon after a refusal another is asked for. */
const POLL_MS = 1_000;
const PATIENCE_MS = 600_000;
const REFUSED_MS = 300_000;
const LOOK_AGAIN_MS = 600_000;

/** A certificate with its key, and whom its holder trusts; all in PEM. */
export interface Issued extends KeyPair {
  ca: string;
}

export interface IssuedOptions {
  /** Of the controller, for metrics. */
  name: string;
  client: Client;
  /** What is asked for. */
  signerName: string;
  subject: Omit<Subject, "names">;
  usages: string[];
  expirationSeconds: number;
  /** What the requests are named and labelled. */
  generateName: string;
  labels?: Record<string, string>;
  /** The ConfigMap with the authorities, and its key. */
  bundles: Cache<ConfigMap>;
  bundle: { namespace: string; name: string; key: string };
  /** Whether a certificate is what was asked for. */
  isOwn(certificate: X509Certificate): boolean;
  log: Logger;
  metrics?: Metrics | undefined;
  now(): Date;
  /** What is shown from now on. */
  onIdentity(identity: Issued): void;
}

/**
 * Keeps a certificate of a signer's: asks for one with a CertificateSigningRequest for a key that is made here and
 * kept in memory, and for another when two thirds of its life are over, or when nobody trusts who signed it any more.
 *
 * Guarantees: no key leaves this process. What is handed on is trusted by whoever has the same authorities.
 */
export function issuedCertificate(options: IssuedOptions): Controller {
  const { client, bundles, bundle, isOwn, log, metrics, now, onIdentity } = options;
  const name = { namespace: bundle.namespace, name: bundle.name };
  let held: KeyPair | undefined;
  let asked: { name: string; key: string; time: number } | undefined;
  let told: Issued | undefined;

  const reconcile = async (): Promise<Outcome> => {
    const ca = bundles.get(bundle.namespace, bundle.name)?.data?.[bundle.key];
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
    const { subject, signerName, usages, expirationSeconds, generateName, labels } = options;
    const { request, key } = createRequest(subject);
    const { metadata } = await client.create(certificateSigningRequests, {
      metadata: { generateName, labels },
      spec: { request: Buffer.from(request).toString("base64"), signerName, usages, expirationSeconds },
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
      log.error({ request: name, reason, message }, "no certificate was given");
      return "refused";
    }
    const given = request?.status?.certificate;
    if (given === undefined) {
      return request !== undefined && now().getTime() - time < PATIENCE_MS ? "wait" : undefined;
    }
    const pair = pairOf(Buffer.from(given, "base64").toString(), key);
    if (pair !== undefined && isOwn(new X509Certificate(pair.cert)) && isTrusted(pair.cert, ca)) return pair;
    log.error({ request: name }, "the certificate that was given is not the one that was asked for");
    return "refused";
  };

  const controller = new Controller({
    name: options.name,
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
