import { readFileSync } from "node:fs";
import { join } from "node:path";

/** What the installer wrote down beside the program: kcr-runtime.conf, lines `key=value`. */
export interface Conf {
  /** Directory of the program. */
  home: string;
  /** The real runtime: a path, or a name on the PATH. */
  runtime: string;
  /** kcr's directory on the node. */
  state: string;
  /** containerd's own directory, where it keeps how containers ended. */
  containerdRoot: string;
  /** Longest wait for the plan of a pod that takes over a state. */
  waitSeconds: number;
  /** A restore that would take longer is not begun, and one that does is ended: the kubelet waits 120 s. */
  restoreSeconds: number;
  /** How fast memory is taken to come back, in 10^6 bytes per second. */
  readMBPerSecond: number;
  /** Volumes whose files are more than this are not captured. */
  volumesMaxBytes: number;
}

export const CONF_FILE = "kcr-runtime.conf";

/** Errors: none; what is missing or no number has its default. */
export function readConf(home: string): Conf {
  let text = "";
  try {
    text = readFileSync(join(home, CONF_FILE), "utf8");
  } catch {
    // The defaults.
  }
  const values = new Map(
    text.split("\n").flatMap((line): [string, string][] => {
      const at = line.indexOf("=");
      return at < 0 || at === line.length - 1 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
    }),
  );
  const number = (key: string, fallback: number): number => {
    const value = Number(values.get(key) ?? fallback);
    return Number.isFinite(value) && value >= 0 ? value : fallback;
  };
  return {
    home,
    runtime: values.get("runtime") ?? "runc",
    state: values.get("state") ?? "/var/lib/kcr",
    containerdRoot: values.get("containerd_root") ?? "/var/lib/containerd",
    waitSeconds: number("wait_seconds", 60),
    restoreSeconds: number("restore_seconds", 100),
    readMBPerSecond: number("read_mb_per_second", 200),
    volumesMaxBytes: number("volumes_max_bytes", 2 ** 30),
  };
}
