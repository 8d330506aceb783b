import { z } from "zod";
import { type Settings, settings } from "../../api/settings.ts";
import { UsageError } from "../errors.ts";

/** The flags of `kcr install` that are settings. */
export interface SettingFlags {
  registry?: string;
  registryPull?: string;
  registryPrefix?: string;
  plainHttp?: boolean;
  store?: string;
  engine?: string;
}

type Part = Record<string, unknown>;

/**
 * Settings from several places, each laid over those before it: what is installed, a file, flags. What none of them
 * says is left to the defaults, and not written down.
 *
 * Errors: UsageError that names every field that is wrong.
 */
export function chooseSettings(...layers: readonly unknown[]): { settings: Settings; written: Part } {
  const written = layers.reduce<Part>((all, layer) => overlay(all, asPart(layer)), {});
  const parsed = settings.safeParse(written);
  if (!parsed.success)
    throw new UsageError(`the settings are not complete, or wrong:\n${z.prettifyError(parsed.error)}`);
  return { settings: parsed.data, written };
}

export function settingsOfFlags(flags: SettingFlags): Part {
  const { registry: push, registryPull: pull, registryPrefix: prefix, plainHttp, store, engine } = flags;
  const registry = defined({ push, pull, prefix, plainHttp });
  return defined({ registry: Object.keys(registry).length > 0 ? registry : undefined, store, engine });
}

function asPart(layer: unknown): Part {
  if (layer === undefined || layer === null) return {};
  if (typeof layer === "object" && !Array.isArray(layer)) return layer as Part;
  throw new UsageError("settings are fields and values, as in config/settings.yaml");
}

const overlay = (below: Part, above: Part): Part => ({
  ...below,
  ...Object.fromEntries(
    Object.entries(above).map(([key, value]) => [
      key,
      isPart(value) && isPart(below[key]) ? { ...below[key], ...value } : value,
    ]),
  ),
});
const isPart = (value: unknown): value is Part =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const defined = (part: Part): Part =>
  Object.fromEntries(Object.entries(part).filter(([, value]) => value !== undefined));
