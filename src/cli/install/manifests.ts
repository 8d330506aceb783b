import { pullAddress, type Settings } from "../../api/settings.ts";
import type { KubeObject } from "../../kube/resources.ts";
import { parseReference } from "../../oci/reference.ts";
import { INSTALLER } from "./installed.ts";
import { MANIFEST_KINDS } from "./kinds.ts";
import { kustomize } from "./kustomize.ts";
import { type Files, shippedFiles } from "./shipped.ts";

/** What a person decides about an installation. */
export interface Choice {
  /** Of kcr's programs: `registry/repository@sha256:...`. */
  image: string;
  settings: Settings;
  /** The settings as they are written down: without what they leave to the defaults. */
  written: string;
  /** Whether the nodes get the runtime handler. */
  handler: boolean;
}

/**
 * Everything of kcr, in the order in which it is applied.
 *
 * Errors: for an image that is no reference.
 */
export function manifests(
  { image, settings, written, handler }: Choice,
  files: Files = shippedFiles(),
): KubeObject[] {
  const { registry, repository, tag, digest } = parseReference(image);
  const objects = kustomize(files, {
    components: settings.engine === "runc" ? ["agent-runc"] : [],
    images: [{ name: "kcr", newName: `${registry}/${repository}`, newTag: tag, digest }],
    configMaps: {
      "kcr-config": { "config.yaml": written },
      ...(settings.registry === undefined
        ? {}
        : { "kcr-policy": { repository: `${pullAddress(settings.registry)}/${settings.registry.prefix}/` } }),
    },
  });
  const wanted = handler ? objects : objects.filter(({ metadata }) => metadata.name !== INSTALLER);
  const rank = ({ kind }: KubeObject) => MANIFEST_KINDS.findIndex((one) => one.kind === kind);
  return wanted.toSorted((a, b) => rank(a) - rank(b));
}
