import { writeFile } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createAuthority, issue } from "../../cluster/pki.ts";
import type { KubeletOptions } from "../../src/agent/kubelet.ts";
import { fixedToken } from "../../src/agent/token/token.ts";

/** What a call of the checkpoint API names. */
export interface CheckpointCall {
  namespace: string;
  pod: string;
  container: string;
}

export type CheckpointAnswer = { status: number; body: string };

/**
 * Stands for a kubelet's checkpoint API where there is no node: its answers are the test's. Real dumps are made
 * on the local cluster.
 */
export interface StandInKubelet {
  readonly options: KubeletOptions;
  /** Calls so far. */
  readonly calls: CheckpointCall[];
  /** How many are being answered now, and the most there have been. */
  readonly active: number;
  readonly mostActive: number;
  close(): void;
}

export async function standInKubelet(
  directory: string,
  answer: (call: CheckpointCall) => Promise<CheckpointAnswer>,
): Promise<StandInKubelet> {
  const authority = createAuthority("stand-in kubelet");
  const calls: CheckpointCall[] = [];
  let active = 0;
  let mostActive = 0;
  const server = createServer(
    issue(authority, { commonName: "node", names: ["127.0.0.1"] }),
    async (request, response) => {
      const [, , namespace = "", pod = "", container = ""] = request.url?.split(/[/?]/) ?? [];
      const call = { namespace, pod, container };
      calls.push(call);
      mostActive = Math.max(mostActive, ++active);
      const { status, body } = await answer(call).catch((error: Error) => ({
        status: 599,
        body: error.message,
      }));
      active--;
      response.writeHead(status).end(body);
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const caFile = join(directory, "kubelet-ca.crt");
  await writeFile(caFile, authority.cert);
  return {
    options: {
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      caFile,
      token: fixedToken("token"),
    },
    calls,
    get active() {
      return active;
    },
    get mostActive() {
      return mostActive;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
