import type { Cluster } from "../../cluster/cluster.ts";

const LOG = "/run/kcr-bench.log";

/** Puts a stopwatch around the runtime that a node's handler calls, for `restore` alone. */
export async function timeRunc({ nodeExec }: Cluster, node: string, signal: AbortSignal): Promise<void> {
  const script = [
    "set -e",
    "conf=/opt/kcr-runtime/kcr-runtime.conf",
    'runc=$(sed -n "s/^runtime=//p" $conf)',
    "cat >/opt/kcr-runtime/timed <<END",
    "#!/bin/sh",
    'case " \\$* " in *" restore "*) ;; *) exec $runc "\\$@" ;; esac',
    "began=\\$(date +%s%N)",
    '$runc "\\$@"',
    "code=\\$?",
    `echo \\$(((\\$(date +%s%N) - began) / 1000)) >>${LOG}`,
    "exit \\$code",
    "END",
    "chmod +x /opt/kcr-runtime/timed",
    'sed -i --follow-symlinks "s|^runtime=.*|runtime=/opt/kcr-runtime/timed|" $conf',
  ].join("\n");
  await nodeExec(node, ["sh", "-c", script], { signal });
}

/** How long the node's last `runc restore` took, in milliseconds. */
export async function lastRestore({ nodeExec }: Cluster, node: string, signal: AbortSignal): Promise<number> {
  return Number(await nodeExec(node, ["tail", "-n", "1", LOG], { signal })) / 1000;
}
