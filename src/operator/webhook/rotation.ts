import { applyNew } from "../../kube/apply.ts";
import type { Cache } from "../../kube/cache.ts";
import type { Client } from "../../kube/client.ts";
import { again, Controller, changesOf, type Outcome } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import {
  type MutatingWebhookConfiguration,
  mutatingWebhookConfigurations,
  type Secret,
  secrets,
} from "../../kube/resources.ts";
import { absent } from "../../kube/write.ts";
import { USER_AGENT } from "../context.ts";
import { bundleOf, fromSecretData, renew, toSecretData } from "./certificate.ts";

/** Name of the Secret, in kcr's namespace, and of the Service. */
export const WEBHOOK = "kcr-webhook";
/** Name of the MutatingWebhookConfiguration. */
export const CONFIGURATION = "kcr";

const LOOK_AGAIN_MS = 3_600_000;

/** The names that API servers know the webhook's Service by. */
export const serviceNames = (namespace: string): string[] => [
  `${WEBHOOK}.${namespace}.svc`,
  `${WEBHOOK}.${namespace}.svc.cluster.local`,
];

/**
 * Keeps the webhook's certificates (Secret kcr-webhook) alive, and has API servers trust them (the caBundle of
 * MutatingWebhookConfiguration kcr). For the leader alone.
 *
 * Guarantees: each write tests the version that was read; nothing is written that is so already. A configuration that
 * is not there is left so.
 */
export function rotationController(options: {
  client: Client;
  namespace: string;
  log: Logger;
  now: () => Date;
  secrets: Cache<Secret>;
  configurations: Cache<MutatingWebhookConfiguration>;
}): Controller {
  const { client, namespace, log, now } = options;

  const reconcile = async (): Promise<Outcome> => {
    const name = { namespace, name: WEBHOOK };
    const secret = await client.get(secrets, name).catch(absent);
    const current = fromSecretData(secret?.data);
    const wanted = renew(current, serviceNames(namespace), now());
    if (wanted !== current) {
      const data = toSecretData(wanted);
      if (secret === undefined) {
        const labels = { "app.kubernetes.io/part-of": "kcr" };
        const object = { metadata: { ...name, labels }, data };
        await applyNew(client, secrets, object, { fieldManager: USER_AGENT });
      } else {
        const { resourceVersion } = secret.metadata;
        await client.patch(secrets, name, { type: "merge", body: { metadata: { resourceVersion }, data } });
      }
      log.info({ secret: WEBHOOK }, "the webhook's certificates were renewed");
    }

    const trusted = Buffer.from(bundleOf(wanted)).toString("base64");
    const configuration = await client
      .get(mutatingWebhookConfigurations, { name: CONFIGURATION })
      .catch(absent);
    const stale = (configuration?.webhooks ?? []).flatMap(({ clientConfig }, n) =>
      clientConfig.caBundle === trusted ? [] : [n],
    );
    if (configuration !== undefined && stale.length > 0) {
      await client.patch(mutatingWebhookConfigurations, configuration.metadata, {
        type: "json",
        body: [
          { op: "test", path: "/metadata/resourceVersion", value: configuration.metadata.resourceVersion },
          ...stale.map((n) => ({
            op: "add" as const,
            path: `/webhooks/${n}/clientConfig/caBundle`,
            value: trusted,
          })),
        ],
      });
    }
    return again(LOOK_AGAIN_MS);
  };

  // Whatever changed, there is one thing to look at.
  const all = () => [{ namespace, name: WEBHOOK }];
  const controller = new Controller({
    name: "webhook-certificates",
    log,
    reconcile,
    sources: [changesOf(options.secrets, all), changesOf(options.configurations, all)],
  });
  // There may be neither yet.
  controller.enqueue({ namespace, name: WEBHOOK });
  return controller;
}
