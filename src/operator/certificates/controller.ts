import { BUNDLE_KEY, TRANSFER_AUTHORITY, TRANSFER_SIGNER } from "../../api/agent-certificate.ts";
import { applyNew } from "../../kube/apply.ts";
import { bundleOf, fromData, renewAuthorities, toData, toPem } from "../../kube/authority.ts";
import { Cache } from "../../kube/cache.ts";
import type { KeyPair } from "../../kube/certificates.ts";
import type { Client } from "../../kube/client.ts";
import { again, Controller, changesOf, done, type Outcome } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import {
  type CertificateSigningRequest,
  type ConfigMap,
  certificateSigningRequests,
  configMaps,
  type ObjectName,
  type Secret,
  secrets,
} from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";
import { USER_AGENT } from "../context.ts";
import { certificateFor, decideRequest } from "./decide.ts";

const LOOK_AGAIN_MS = 3_600_000;
/** Without an authority nothing is signed; it comes at once where this replica leads. */
const NO_AUTHORITY_MS = 1_000;

export interface CertificatesOptions {
  client: Client;
  /** kcr's own namespace. */
  namespace: string;
  log: Logger;
  metrics?: Metrics;
}

/** The certificates that agents show each other, and that the download part shows them. */
export interface Certificates {
  /** What the leader goes by; all replicas keep it. */
  readonly caches: readonly Pick<Cache<Secret>, "synced" | "run">[];
  /** For the leader alone. */
  controllers(now: () => Date): Controller[];
}

export function createCertificates(options: CertificatesOptions): Certificates {
  const { namespace, ...common } = options;
  const ofAuthority = { ...common, namespace, fieldSelector: `metadata.name=${TRANSFER_AUTHORITY}` };
  const caches = {
    secrets: new Cache<Secret>({ ...ofAuthority, resource: secrets }),
    bundles: new Cache<ConfigMap>({ ...ofAuthority, resource: configMaps }),
    requests: new Cache<CertificateSigningRequest>({
      ...common,
      resource: certificateSigningRequests,
      fieldSelector: `spec.signerName=${TRANSFER_SIGNER}`,
    }),
  };
  const all = [caches.secrets, caches.bundles, caches.requests];
  return {
    caches: all,
    controllers: (now) => [
      authorityController({ ...options, ...caches, now }),
      signingController({ ...options, ...caches, now }),
    ],
  };
}

interface Parts extends CertificatesOptions {
  now(): Date;
  secrets: Cache<Secret>;
  bundles: Cache<ConfigMap>;
  requests: Cache<CertificateSigningRequest>;
}

/**
 * Keeps the authority of the agents' certificates alive: its keys in Secret kcr-transfer-ca and nowhere else, what is
 * to be trusted in the ConfigMap of that name.
 *
 * Guarantees: a new authority is trusted two hours before it signs, and an old one until it expires; each write tests
 * the version that was read; nothing is written that is so already.
 */
function authorityController(parts: Parts): Controller {
  const { client, namespace, log, metrics, now } = parts;
  const name = { namespace, name: TRANSFER_AUTHORITY };
  const labels = { "app.kubernetes.io/part-of": "kcr" };

  const reconcile = async (): Promise<Outcome> => {
    const secret = await client.get(secrets, name).catch(absent);
    const current = fromData(secret?.data);
    const wanted = renewAuthorities(current, "kcr transfer", now());
    if (wanted !== current) {
      await write(secrets, secret, toData(toPem(wanted)));
      log.info({ secret: TRANSFER_AUTHORITY }, "the authority of the agents' certificates was renewed");
    }
    const bundle = await client.get(configMaps, name).catch(absent);
    const data = { [BUNDLE_KEY]: bundleOf(wanted) };
    if (bundle?.data?.[BUNDLE_KEY] !== data[BUNDLE_KEY]) await write(configMaps, bundle, data);
    return again(LOOK_AGAIN_MS);
  };

  const write = async (
    resource: typeof secrets | typeof configMaps,
    old: Secret | ConfigMap | undefined,
    data: Record<string, string>,
  ): Promise<void> => {
    if (old === undefined) {
      const object = { metadata: { ...name, labels }, data };
      await applyNew<Secret | ConfigMap>(client, resource, object, { fieldManager: USER_AGENT });
      return;
    }
    const { resourceVersion } = old.metadata;
    await client.patch(resource, name, { type: "merge", body: { metadata: { resourceVersion }, data } });
  };

  // Whatever changed, there is one thing to look at.
  const all = () => [name];
  const controller = new Controller({
    name: "transfer-authority",
    log,
    metrics,
    reconcile,
    sources: [changesOf(parts.secrets, all), changesOf(parts.bundles, all)],
  });
  // There may be neither yet.
  controller.enqueue(name);
  return controller;
}

/**
 * Gives agents and the download part their certificates: approves and signs what each asks for itself, an agent for its
 * own node, and denies all else that is asked of this signer (decide.ts). Requests that are over are the cluster's to remove.
 */
function signingController(parts: Parts): Controller {
  const { client, namespace, log, metrics, now } = parts;

  const reconcile = async ({ name }: ObjectName): Promise<Outcome> => {
    const request = parts.requests.get(undefined, name);
    if (request === undefined) return done;
    const decision = decideRequest(request, { namespace });
    switch (decision.type) {
      case "nothing":
        return done;
      case "approve":
        await note(request, "approval", "Approved", "OwnOfCaller", "asked for by whom it names");
        return done;
      case "deny":
        await note(request, "approval", "Denied", "NotTheCallers", decision.why);
        log.warn({ request: name, why: decision.why }, "a certificate for copies was refused");
        return done;
      case "fail":
        await note(request, "status", "Failed", "NotTheCallers", decision.why);
        log.warn({ request: name, why: decision.why }, "a certificate for copies was not issued");
        return done;
      case "sign": {
        const authorities = await readAuthorities();
        if (authorities.length === 0) return again(NO_AUTHORITY_MS);
        const certificate = Buffer.from(certificateFor(decision, authorities, now())).toString("base64");
        await patch(request, "status", { certificate });
        log.info({ request: name, for: decision.subject.commonName }, "a certificate for copies was issued");
        return done;
      }
      default:
        return decision satisfies never;
    }
  };

  const readAuthorities = async (): Promise<KeyPair[]> => {
    const secret = await client.get(secrets, { namespace, name: TRANSFER_AUTHORITY }).catch(absent);
    return fromData(secret?.data);
  };

  const note = (
    request: CertificateSigningRequest,
    subresource: "approval" | "status",
    type: "Approved" | "Denied" | "Failed",
    reason: string,
    message: string,
  ): Promise<void> => {
    const condition = { type, status: "True", reason, message, lastUpdateTime: now().toISOString() };
    const conditions = [...(request.status?.conditions ?? []), condition];
    return patch(request, subresource, { conditions });
  };

  const patch = async (
    { metadata }: CertificateSigningRequest,
    subresource: "approval" | "status",
    status: object,
  ): Promise<void> => {
    const { name, resourceVersion } = metadata;
    const body = { metadata: { resourceVersion }, status };
    await client.patch(certificateSigningRequests, { name }, { type: "merge", body }, { subresource });
  };

  return new Controller({
    name: "transfer-certificates",
    log,
    metrics,
    workers: 2,
    reconcile,
    sources: [changesOf(parts.requests)],
  });
}
