import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isContainerID } from "../store/layout.ts";
import type { Conf } from "./conf.ts";
import type { End } from "./decide.ts";

/**
 * How a container ended, from what containerd persists before it tells the kubelet (its CRI plugin's
 * `containers/<id>/status`, JSON with Go's field names). Undefined when it is not there, or not ended.
 */
export function endOf({ containerdRoot }: Conf, containerID: string): End | undefined {
  if (!isContainerID(containerID)) return undefined;
  const path = join(containerdRoot, "io.containerd.grpc.v1.cri", "containers", containerID, "status");
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
  // Times are nanoseconds since 1970, which a double has exactly enough digits for here.
  const read = value as { ExitCode?: unknown; StartedAt?: unknown; FinishedAt?: unknown } | null;
  const { ExitCode: exitCode, StartedAt: started, FinishedAt: finished } = read ?? {};
  if (typeof exitCode !== "number" || typeof started !== "number" || typeof finished !== "number") {
    return undefined;
  }
  return finished > 0 ? { exitCode, startedMs: started / 1e6, finishedMs: finished / 1e6 } : undefined;
}
