import { NODES_NAMESPACE } from "../../api/node-account.ts";
import { type Client, objectPath } from "../../kube/client.ts";
import { ApiError } from "../../kube/errors.ts";
import { serviceAccounts, type TokenRequest } from "../../kube/resources.ts";
import { orAborted } from "../../kube/signals.ts";
import { KubeletError } from "../kubelet.ts";

/** Bearer tokens that a kubelet is shown. */
export interface TokenSource {
  /** One that is good for a while yet. Errors: {@link KubeletError} NodeTokenMissing; the signal's reason. */
  get(signal?: AbortSignal): Promise<string>;
  /** That one was not believed: it is not given again. */
  forget(token: string): void;
}

/** The shortest life that the API server gives, and the longest that kcr's policy lets an agent ask for. */
const LIFE_SECONDS = 600;
/** A token that ends sooner is not shown any more, in milliseconds: clocks differ, and a kubelet may be slow. */
const MARGIN_MS = 60_000;

/**
 * Tokens of the account of this node, which may take checkpoints of this node alone.
 *
 * Guarantees: they are kept in memory and nowhere else; asked for when needed, once for all who wait.
 * Source: TokenRequest, https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/.
 * Without `audiences` it is for the API server, which is who the kubelet asks whose it is. It is bound to no pod: the
 * API server binds a token only to a pod that runs as the same account.
 */
export class NodeToken implements TokenSource {
  readonly #client: Client;
  readonly #path: string;
  readonly #node: string;
  readonly #now: () => Date;
  #current: { token: string; until: number } | undefined;
  #arriving: Promise<string> | undefined;

  constructor({ client, node, now }: { client: Client; node: string; now: () => Date }) {
    this.#client = client;
    this.#node = node;
    this.#now = now;
    this.#path = objectPath(serviceAccounts, { namespace: NODES_NAMESPACE, name: node }, "token");
  }

  async get(signal?: AbortSignal): Promise<string> {
    if (this.#current !== undefined && this.#now().getTime() < this.#current.until)
      return this.#current.token;
    this.#arriving ??= this.#request().finally(() => {
      this.#arriving = undefined;
    });
    return await orAborted(this.#arriving, signal);
  }

  forget(token: string): void {
    if (this.#current?.token === token) this.#current = undefined;
  }

  async #request(): Promise<string> {
    const body: TokenRequest = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { expirationSeconds: LIFE_SECONDS } as TokenRequest["spec"],
    };
    const asked = this.#now().getTime();
    const answer = await this.#client
      .request<TokenRequest>("POST", this.#path, { body })
      .catch((error: unknown) => {
        throw this.#refusal(error);
      });
    const token = answer.status?.token;
    if (!token)
      throw new KubeletError("NodeTokenMissing", `the API server gave no token of account ${this.#node}`);
    const lifeMs = (answer.spec?.expirationSeconds ?? LIFE_SECONDS) * 1000;
    this.#current = { token, until: asked + lifeMs - MARGIN_MS };
    return token;
  }

  #refusal(cause: unknown): KubeletError {
    // An account that is not there yet is made soon; what is forbidden stays so.
    const status = cause instanceof ApiError ? cause.status : undefined;
    const isPassing = status === undefined || status === 404 || status >= 500;
    const retries = isPassing ? Number.POSITIVE_INFINITY : 0;
    const what = `no token of account ${NODES_NAMESPACE}/${this.#node}: ${(cause as Error).message}`;
    return new KubeletError("NodeTokenMissing", what, retries, { cause });
  }
}

/** A token that is given whoever asks, for a kubelet that is none. */
export const fixedToken = (token: string): TokenSource => ({ get: async () => token, forget() {} });
