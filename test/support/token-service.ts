import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * Stands in for the token service that a registry's vendor runs (Docker Hub's, Harbor's, a cloud's): it speaks
 * distribution's token specification and signs real JWTs, which the real registry verifies.
 */
export interface TokenService {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  /** Its public key, as the registry's configuration takes it. */
  readonly jwks: object;
  /** The scopes of every token it has given out, in order. */
  readonly granted: string[];
  /** How many requests it has had, good or bad. */
  readonly requests: number;
  /** Actions it gives to those who ask for them; all by default. */
  allow(actions: readonly string[]): void;
  /** How long its next tokens are good, in seconds. The registry allows 60 more. */
  setLife(seconds: number): void;
  stop(): Promise<void>;
}

export interface TokenServiceOptions {
  credentials: { username: string; password: string };
  /** The address of this machine at which it listens. Default 127.0.0.1. */
  host?: string;
}

export async function startTokenService({
  credentials,
  host = "127.0.0.1",
}: TokenServiceOptions): Promise<TokenService> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const kid = randomUUID();
  const jwks = { keys: [{ ...publicKey.export({ format: "jwk" }), kid, alg: "ES256", use: "sig" }] };
  const service = "kcr test registry";
  const issuer = "kcr test token service";
  const expected = `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
  const granted: string[] = [];
  let allowed: readonly string[] = ["pull", "push", "delete", "*"];
  let lifeSeconds = 300;
  let requests = 0;

  const jwt = (access: object[]) => {
    const now = Math.floor(Date.now() / 1000);
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { iss: issuer, sub: credentials.username, aud: service, access, jti: randomUUID() };
    const times = { iat: now, nbf: now - 5, exp: now + lifeSeconds };
    const signed = `${part({ typ: "JWT", alg: "ES256", kid })}.${part({ ...claims, ...times })}`;
    const signature = sign("sha256", Buffer.from(signed), { key: privateKey, dsaEncoding: "ieee-p1363" });
    return `${signed}.${signature.toString("base64url")}`;
  };

  const server = createServer((request, response) => {
    requests += 1;
    const answer = (status: number, body: object) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    if (request.headers.authorization !== expected) {
      answer(401, { errors: [{ code: "UNAUTHORIZED", message: "incorrect username or password" }] });
      return;
    }
    const url = new URL(request.url!, "http://token");
    if (url.searchParams.get("service") !== service) {
      answer(400, { errors: [{ code: "UNSUPPORTED", message: "another service" }] });
      return;
    }
    const access = url.searchParams.getAll("scope").map((scope) => {
      const [type, name, actions = ""] = scope.split(":");
      granted.push(scope);
      return { type, name, actions: actions.split(",").filter((action) => allowed.includes(action)) };
    });
    answer(200, { token: jwt(access), expires_in: lifeSeconds });
  });
  server.listen(0, host);
  await once(server, "listening");
  return {
    realm: `http://${host}:${(server.address() as AddressInfo).port}/token`,
    service,
    issuer,
    jwks,
    granted,
    get requests() {
      return requests;
    },
    allow: (actions) => {
      allowed = actions;
    },
    setLife: (seconds) => {
      lifeSeconds = seconds;
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
