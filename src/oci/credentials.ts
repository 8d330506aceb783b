import { z } from "zod";

export interface Credentials {
  username: string;
  password: string;
}

/** A docker configuration that cannot be read. Never holds any of its content. */
export class CredentialsError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "CredentialsError";
  }
}

const entry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
});
const dockerConfig = z.object({ auths: z.record(z.string(), entry).default({}) });

/** The names under which docker login has filed Docker Hub. */
const DOCKER_HUB = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
  "registry.hub.docker.com",
]);

/**
 * Finds the credentials for a registry in the text of a `.dockerconfigjson`, by the kubelet's rules: keys may
 * carry a scheme, a port and a path, and `*` in a part of the host name; of the keys that fit, the one with the
 * longest path counts.
 *
 * Errors: `CredentialsError` when the text is no such configuration, or the entry found holds no user name and
 * password (identity tokens of `docker login` are not supported).
 */
export function credentialsFor(
  dockerConfigJson: string,
  address: string,
  repository = "",
): Credentials | undefined {
  const wanted = normalize(`${address}/${repository}`);
  const candidates = Object.entries(read(dockerConfigJson).auths)
    .map(([key, value]) => ({ key: normalize(key), value }))
    .filter(({ key }) => hostFits(key.host, wanted.host) && pathFits(key.path, wanted.path))
    .sort((a, b) => b.key.path.length - a.key.path.length || Number(isGlob(a.key)) - Number(isGlob(b.key)));
  const found = candidates[0];
  return found && decode(found.value, found.key.host);
}

function read(text: string): z.infer<typeof dockerConfig> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new CredentialsError("the docker configuration is not JSON");
  }
  const parsed = dockerConfig.safeParse(json);
  if (!parsed.success) throw new CredentialsError('the docker configuration has no readable "auths"');
  return parsed.data;
}

interface Place {
  host: string;
  path: string;
}

function normalize(key: string): Place {
  const bare = key.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  const slash = bare.indexOf("/");
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? "" : bare.slice(slash + 1);
  // "https://index.docker.io/v1/" is the API's path, not a repository's; so it is with "/v2/".
  return { host: DOCKER_HUB.has(host) ? "docker.io" : host, path: /^v[12]$/.test(path) ? "" : path };
}

function isGlob({ host }: Place): boolean {
  return host.includes("*");
}

function hostFits(pattern: string, host: string): boolean {
  const [patternName = "", patternPort] = splitPort(pattern);
  const [name = "", port] = splitPort(host);
  const patternLabels = patternName.split(".");
  const labels = name.split(".");
  return (
    patternPort === port &&
    patternLabels.length === labels.length &&
    patternLabels.every((label, index) => labelFits(label, labels[index]!))
  );
}

function splitPort(host: string): [string, string?] {
  const match = /^(.*):([0-9]+)$/.exec(host);
  return match ? [match[1]!, match[2]!] : [host];
}

function labelFits(pattern: string, label: string): boolean {
  const star = pattern.indexOf("*");
  if (star < 0) return pattern === label;
  const [head, tail] = [pattern.slice(0, star), pattern.slice(star + 1)];
  return label.length >= head.length + tail.length && label.startsWith(head) && label.endsWith(tail);
}

function pathFits(pattern: string, path: string): boolean {
  return pattern === "" || path === pattern || path.startsWith(`${pattern}/`);
}

function decode({ auth, username, password }: z.infer<typeof entry>, host: string): Credentials {
  if (username && password) return { username, password };
  const pair = Buffer.from(auth ?? "", "base64").toString("utf8");
  const colon = pair.indexOf(":");
  if (colon <= 0) {
    throw new CredentialsError(`the docker configuration's entry for ${host} has no user name and password`);
  }
  return { username: pair.slice(0, colon), password: pair.slice(colon + 1).replace(/\0+$/, "") };
}
