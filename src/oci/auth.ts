import { z } from "zod";
import { type Challenge, parseChallenges } from "./challenge.ts";
import type { Credentials } from "./credentials.ts";
import { answerError, connectionError, RegistryError } from "./errors.ts";
import type { HttpClient, HttpResponse } from "./http.ts";

/** What a request needs to be allowed: "repository:team/app:pull,push", or several of these. */
export type Scope = readonly string[];

export interface AuthOptions {
  http: HttpClient;
  registry: string;
  credentials?: Credentials;
  /** Whether a token may be asked for without TLS. */
  plainHttp: boolean;
  /** Milliseconds since 1970; for tests. */
  now?: () => number;
}

const TOKEN_ANSWER_BYTES = 256 * 1024;
/** A token without a stated life has 60 s (distribution's token specification). */
const DEFAULT_LIFE_SECONDS = 60;
/** A token is not used for its last seconds: the request has to get there. */
const MARGIN_MS = 5_000;

const tokenAnswer = z.object({
  token: z.string().min(1).optional(),
  access_token: z.string().min(1).optional(),
  expires_in: z.number().positive().optional(),
});

interface Token {
  value: string;
  /** Milliseconds since 1970. */
  until: number;
}

type Scheme =
  | { kind: "unknown" }
  | { kind: "basic" }
  | { kind: "bearer"; realm: URL; service: string | undefined };

/**
 * Knows how one registry wants requests to be authorized: not at all, Basic, or Bearer with a token from the
 * realm that it names (distribution's token specification; RFC 6750).
 *
 * Guarantees: credentials go to the registry and to the realm it names, never over plain HTTP unless that was
 * configured, never into a message. One token per scope, asked for once however many requests want it, and
 * again when it has run out.
 */
export class Authorizer {
  readonly #options: AuthOptions;
  readonly #now: () => number;
  readonly #tokens = new Map<string, Token>();
  readonly #asked = new Map<string, Promise<Token>>();
  #scheme: Scheme = { kind: "unknown" };

  constructor(options: AuthOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The `Authorization` header for a request, as far as is known what the registry wants. */
  async header(scope: Scope, signal?: AbortSignal): Promise<string | undefined> {
    const { credentials } = this.#options;
    switch (this.#scheme.kind) {
      case "unknown":
        return undefined;
      case "basic":
        return credentials && basic(credentials);
      case "bearer":
        return `Bearer ${(await this.#token(this.#scheme, scope, signal)).value}`;
    }
  }

  /**
   * Takes in a 401. Returns the header to try again with.
   *
   * Errors: `unauthorized` when there is nothing (more) to try.
   */
  async challenged(response: HttpResponse, scope: Scope, used: string | undefined, signal?: AbortSignal) {
    const { registry, credentials } = this.#options;
    const challenges = parseChallenges(response.headers("www-authenticate"));
    const bearer = challenges.find(
      (challenge) => challenge.scheme === "bearer" && challenge.parameters["realm"],
    );
    if (bearer) {
      this.#scheme = { kind: "bearer", realm: this.#realm(bearer), service: bearer.parameters["service"] };
      this.#tokens.delete(keyOf(scope));
    } else if (challenges.some((challenge) => challenge.scheme === "basic")) {
      this.#scheme = { kind: "basic" };
    }
    const header = await this.header(scope, signal);
    if (header === undefined || header === used) {
      const why = credentials ? "refuses these credentials" : "wants credentials, and none are given for it";
      throw new RegistryError("unauthorized", `${why}; check the user name and password for this registry`, {
        registry,
        status: 401,
      });
    }
    return header;
  }

  /** What a 401 means that comes even so: with a token that lacks the right, it is a 403 in all but name. */
  refused(response: HttpResponse): "unauthorized" | "forbidden" {
    const [challenge] = parseChallenges(response.headers("www-authenticate"));
    const lacking = challenge?.parameters["error"] === "insufficient_scope";
    return lacking && this.#options.credentials ? "forbidden" : "unauthorized";
  }

  #realm({ parameters }: Challenge): URL {
    const { registry, plainHttp } = this.#options;
    const realm = URL.parse(parameters["realm"]!);
    if (realm?.protocol === "https:" || (realm?.protocol === "http:" && plainHttp)) return realm;
    const what = realm ? `${realm.protocol}//${realm.host}` : "no URL";
    throw new RegistryError("tls", `sends us for a token to ${what}, where credentials would not be safe`, {
      registry,
    });
  }

  async #token(scheme: Scheme & { kind: "bearer" }, scope: Scope, signal?: AbortSignal): Promise<Token> {
    const key = keyOf(scope);
    const known = this.#tokens.get(key);
    if (known && known.until - MARGIN_MS > this.#now()) return known;
    // Whoever asks first, asks for all: so nobody's signal ends it, the HTTP client's own limits do.
    const asked = this.#asked.get(key) ?? this.#ask(scheme, scope, key);
    return await unlessAborted(asked, signal);
  }

  #ask(scheme: Scheme & { kind: "bearer" }, scope: Scope, key: string): Promise<Token> {
    const asked = this.#fetch(scheme, scope)
      .then((token) => {
        for (const [other, { until }] of this.#tokens) if (until <= this.#now()) this.#tokens.delete(other);
        this.#tokens.set(key, token);
        return token;
      })
      .finally(() => this.#asked.delete(key));
    // Its failure belongs to those who wait; by then that may be nobody.
    asked.catch(() => {});
    this.#asked.set(key, asked);
    return asked;
  }

  async #fetch({ realm, service }: Scheme & { kind: "bearer" }, scope: Scope): Promise<Token> {
    const { http, registry, credentials } = this.#options;
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set("service", service);
    for (const one of scope) url.searchParams.append("scope", one);
    const details = { registry };
    const from = `the token service ${realm.host}`;
    let status: number;
    let body: Buffer | undefined;
    try {
      const response = await http.send({
        method: "GET",
        url,
        headers: { accept: "application/json", ...(credentials && { authorization: basic(credentials) }) },
      });
      status = response.status;
      body = await response.read(TOKEN_ANSWER_BYTES);
    } catch (cause) {
      const { code, message } = connectionError(cause, { registry: realm.host });
      throw new RegistryError(code, `no token from ${message}`, { ...details, cause });
    }
    if (status !== 200)
      throw answerError(`no token from ${from}`, status, body?.toString("utf8") ?? "", details);
    const answer = parseAnswer(body);
    const value = answer?.token ?? answer?.access_token;
    if (value === undefined || !/^[\x21-\x7e]+$/.test(value)) {
      throw new RegistryError("protocol", `${from} answers without a token`, { ...details, status });
    }
    return { value, until: this.#now() + (answer?.expires_in ?? DEFAULT_LIFE_SECONDS) * 1000 };
  }
}

function keyOf(scope: Scope): string {
  return scope.join(" ");
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function parseAnswer(body: Buffer | undefined): z.infer<typeof tokenAnswer> | undefined {
  try {
    return tokenAnswer.parse(JSON.parse(body?.toString("utf8") ?? ""));
  } catch {
    return undefined;
  }
}

async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await promise;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
