import type { KeyPair } from "./pki.ts";

/** The contents of a kubeconfig (as JSON, which is YAML) for one user of one API server. */
export function kubeconfig(server: { url: string; ca: string }, user: KeyPair | { token: string }): string {
  const base64 = (pem: string) => Buffer.from(pem).toString("base64");
  const credentials =
    "token" in user
      ? { token: user.token }
      : { "client-certificate-data": base64(user.cert), "client-key-data": base64(user.key) };
  return JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        { name: "kcr", cluster: { server: server.url, "certificate-authority-data": base64(server.ca) } },
      ],
      users: [{ name: "user", user: credentials }],
      contexts: [{ name: "kcr", context: { cluster: "kcr", user: "user" } }],
      "current-context": "kcr",
    },
    undefined,
    2,
  );
}
