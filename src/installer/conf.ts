import type { Settings } from "../api/settings.ts";

/** What kcr-runtime is told, in `kcr-runtime.conf` beside it (a `key=value` a line). */
export interface RuntimeConf {
  /** Absolute path of the real runtime. */
  runtime: string;
  /** kcr's directory on the node. */
  state: string;
  /** Where containerd keeps its data; absent on CRI-O. */
  containerdRoot?: string;
  /** Pass everything on and restore nothing. */
  disabled?: boolean;
}

export function formatConf(conf: RuntimeConf, settings: Settings["runtime"]): string {
  const { waitSeconds, restoreSeconds, readMBPerSecond, volumesMaxBytes } = settings;
  const entries: [string, string | number | undefined][] = [
    ["runtime", conf.runtime],
    ["state", conf.state],
    ["containerd_root", conf.containerdRoot],
    ["wait_seconds", waitSeconds],
    ["restore_seconds", restoreSeconds],
    ["read_mb_per_second", readMBPerSecond],
    ["volumes_max_bytes", volumesMaxBytes],
    ["disabled", conf.disabled ? 1 : undefined],
  ];
  return entries.map(([key, value]) => (value === undefined ? "" : `${key}=${value}\n`)).join("");
}

const DISABLED = "disabled=1\n";

/** The same configuration, with everything passed on to the real runtime. */
export const disable = (text: string): string => (text.includes(DISABLED) ? text : `${text}${DISABLED}`);
