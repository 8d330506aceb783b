import { parse } from "yaml";
import { type Settings, settings } from "../../api/settings.ts";
import type { Client } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import { configMaps, type Deployment, deployments, serviceAccounts } from "../../kube/resources.ts";

/** Where kcr's programs are; the name is part of its manifests and of its policies. */
export const KCR_NAMESPACE = "kcr-system";
export const OPERATOR = "kcr-operator";
export const AGENT = "kcr-agent";
export const INSTALLER = "kcr-installer";

/** What of kcr runs in the cluster. */
export interface Installed {
  operator: Deployment;
  /** Of kcr's programs. */
  image: string;
  /** Its settings as they were written, which may say less or more than this program knows. */
  written: unknown;
}

/** Undefined where there is no operator. Errors: those of the API but 404. */
export async function findInstalled(client: Client, signal: AbortSignal): Promise<Installed | undefined> {
  const found = await absent(
    client.get(deployments, { namespace: KCR_NAMESPACE, name: OPERATOR }, { signal }),
  );
  const spec = found?.spec?.template.spec;
  if (found === undefined || spec === undefined) return undefined;
  const name = spec.volumes?.find(({ configMap }) => configMap?.name?.startsWith("kcr-config"))?.configMap
    ?.name;
  const config =
    name === undefined
      ? undefined
      : await absent(client.get(configMaps, { namespace: KCR_NAMESPACE, name }, { signal }));
  const text = config?.data?.["config.yaml"];
  return {
    operator: found,
    image: spec.containers[0]?.image ?? "",
    written: text === undefined ? undefined : parse(text),
  };
}

/**
 * Whether kcr was installed with the handler for nodes. By its installer's account, which is applied before everything
 * that runs: an installation that was cut short is known too.
 */
export async function hasHandler(client: Client, signal: AbortSignal): Promise<boolean> {
  const name = { namespace: KCR_NAMESPACE, name: INSTALLER };
  return (await absent(client.get(serviceAccounts, name, { signal }))) !== undefined;
}

/** The settings that kcr goes by; undefined where they are not to be read. */
export function settingsOf({ written }: Installed): Settings | undefined {
  const parsed = settings.safeParse(written ?? {});
  return parsed.success ? parsed.data : undefined;
}

/** What may not be there. */
export const absent = <T>(promise: Promise<T>): Promise<T | undefined> =>
  promise.catch((error: unknown) => {
    if (isNotFound(error)) return undefined;
    throw error;
  });
