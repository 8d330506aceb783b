import { request } from "node:https";
import type { KeyPair } from "./pki.ts";

/** A GET at the API server as the owner of a certificate; the answer must be JSON unless the path is a probe. */
export function apiGet(
  url: string,
  { ca, user }: { ca: string; user: KeyPair },
  signal?: AbortSignal,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const options = { ca, ...user, agent: false, timeout: 3_000, signal } as const;
    const asked = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      response.on("error", reject);
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer from ${url}`)));
    asked.on("error", reject);
    asked.end();
  });
}
