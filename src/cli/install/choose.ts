import { readFile } from "node:fs/promises";
import { parse, stringify } from "yaml";
import { parseReference } from "../../oci/reference.ts";
import { UsageError } from "../errors.ts";
import type { Installed } from "./installed.ts";
import { manifests } from "./manifests.ts";
import { chooseSettings, type SettingFlags, settingsOfFlags } from "./settings.ts";

/** What a person says of an installation. */
export interface Choices extends SettingFlags {
  image?: string;
  /** A file with more settings. */
  settings?: string;
  /** Whether nodes get the runtime handler. */
  handler?: boolean;
}

/**
 * What is to be applied: what is said now, else what is installed.
 *
 * Errors: UsageError where something that is needed was said neither now nor before.
 */
export async function choose(flags: Choices, installed: (Installed & { handler: boolean }) | undefined) {
  const image = flags.image ?? installed?.image;
  if (!image) {
    throw new UsageError(
      "--image is needed: the reference of kcr's own image, which `npm run image -- push` of a checkout prints",
    );
  }
  try {
    parseReference(image);
  } catch (error) {
    throw new UsageError(`--image: ${error instanceof Error ? error.message : error}`);
  }
  const file = flags.settings === undefined ? undefined : parse(await readFile(flags.settings, "utf8"));
  const { settings, written } = chooseSettings(installed?.written, file, settingsOfFlags(flags));
  const handler = flags.handler ?? installed?.handler ?? true;
  const objects = manifests({ image, settings, written: stringify(written), handler });
  return { objects, selftest: settings.selftest.enabled };
}
