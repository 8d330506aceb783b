import { RUNTIME_HANDLER } from "../../api/checkpoint.ts";
import { type AdmissionServer, serveAdmission } from "../../kube/admission.ts";
import { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import type { Controller } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import type { Metrics } from "../../kube/metrics.ts";
import {
  type MutatingWebhookConfiguration,
  mutatingWebhookConfigurations,
  type RuntimeClass,
  runtimeClasses,
  type Secret,
  secrets,
} from "../../kube/resources.ts";
import type { Context } from "../context.ts";
import { fromSecretData } from "./certificate.ts";
import { reviewPod } from "./pods.ts";
import { Promised } from "./promised.ts";
import { CONFIGURATION, rotationController, WEBHOOK } from "./rotation.ts";

/** All look-ups for one pod together; API servers wait for two seconds. */
const DECIDE_MS = 1000;

export interface WebhookOptions {
  client: Client;
  /** kcr's own namespace: of the Secret and the Service. */
  namespace: string;
  /** 0: any that is free. */
  port: number;
  host?: string;
  caches: Pick<Context["caches"], "schedules" | "pods" | "nodes">;
  log: Logger;
  metrics: Metrics;
}

/** The pod-creation webhook of one replica: all replicas serve it, the leader keeps its certificates alive. */
export interface Webhook {
  /** Those that the webhook itself needs, besides the operator's. */
  readonly caches: readonly Cache<Secret>[];
  /** Whether it answers, or there is no certificate yet to answer with. */
  ready(): boolean;
  /** Serves until the signal aborts. Errors: a port that is taken. */
  run(signal: AbortSignal): Promise<void>;
  rotation(now: () => Date): Controller;
}

export function createWebhook(options: WebhookOptions): Webhook {
  const { client, namespace, log, metrics } = options;
  const common = { client, log, metrics };
  const own = {
    secrets: new Cache<Secret>({
      ...common,
      resource: secrets,
      namespace,
      fieldSelector: `metadata.name=${WEBHOOK}`,
    }),
    configurations: new Cache<MutatingWebhookConfiguration>({
      ...common,
      resource: mutatingWebhookConfigurations,
      fieldSelector: `metadata.name=${CONFIGURATION}`,
    }),
    runtimeClasses: new Cache<RuntimeClass>({
      ...common,
      resource: runtimeClasses,
      fieldSelector: `metadata.name=${RUNTIME_HANDLER}`,
    }),
  };
  const promised = new Promised();
  const context = { client, promised, caches: { ...options.caches, runtimeClasses: own.runtimeClasses } };
  let server: AdmissionServer | undefined;

  const load = (secret: Secret): void => {
    const { serving } = fromSecretData(secret.data);
    if (serving === undefined)
      log.warn({ secret: WEBHOOK }, "the Secret holds no certificate; the old one stays");
    else server?.setCertificate(serving);
  };

  return {
    caches: Object.values(own) as unknown as Cache<Secret>[],
    // Without a certificate there is nothing to serve yet: whoever leads makes it, be it a replica of a version
    // before this one that never will, and that only goes once its successors are ready.
    ready: () =>
      server?.serving === true || (own.secrets.synced && own.secrets.get(namespace, WEBHOOK) === undefined),
    async run(signal) {
      server = await serveAdmission({
        port: options.port,
        host: options.host,
        paths: { "/mutate-pods": (request, limit) => reviewPod(context, request, limit) },
        timeoutMs: DECIDE_MS,
        log,
        metrics,
      });
      log.info({ port: server.port }, "the webhook listens");
      const ends = [
        promised.follow(options.caches.pods),
        own.secrets.subscribe(({ type, object }) => {
          if (type === "apply") load(object);
        }),
      ];
      try {
        await new Promise<void>((resolve) => {
          if (signal.aborted) resolve();
          else signal.addEventListener("abort", () => resolve(), { once: true });
        });
      } finally {
        for (const end of ends) end();
        server.close();
      }
    },
    rotation: (now) =>
      rotationController({
        client,
        namespace,
        log,
        now,
        secrets: own.secrets,
        configurations: own.configurations,
      }),
  };
}
