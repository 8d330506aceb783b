import { describe, expect, it } from "vitest";
import type { Client } from "../../kube/client.ts";
import { ApiError, ConnectionError } from "../../kube/errors.ts";
import { NodeToken } from "./token.ts";

/** A token service whose answers are the test's, and the tokens it gave: t1, t2, ... */
function service(fail?: () => unknown) {
  const paths: string[] = [];
  let now = Date.parse("2026-01-01T00:00:00Z");
  const client = {
    async request(_method: string, path: string, { body }: { body: { spec: object } }) {
      paths.push(path);
      const error = fail?.();
      if (error !== undefined) throw error;
      return { ...body, status: { token: `t${paths.length}` } };
    },
  } as unknown as Client;
  const tokens = new NodeToken({ client, node: "worker-1", now: () => new Date(now) });
  return {
    tokens,
    paths,
    pass: (seconds: number) => {
      now += seconds * 1000;
    },
  };
}

describe("a node's token", () => {
  it("is asked of its own node's account, once for all who wait", async () => {
    const { tokens, paths } = service();
    expect(await Promise.all([tokens.get(), tokens.get()])).toEqual(["t1", "t1"]);
    expect(paths).toEqual(["/api/v1/namespaces/kcr-nodes/serviceaccounts/worker-1/token"]);
  });

  it("is renewed before it ends", async () => {
    const { tokens, pass } = service();
    await tokens.get();
    pass(530);
    expect(await tokens.get()).toBe("t1");
    pass(20);
    expect(await tokens.get()).toBe("t2");
  });

  it("is not given again once it was not believed", async () => {
    const { tokens } = service();
    tokens.forget(await tokens.get());
    expect(await tokens.get()).toBe("t2");
    tokens.forget("t1");
    expect(await tokens.get()).toBe("t2");
  });

  it.each<[string, unknown, number]>([
    ["an account that is not there yet", new ApiError("POST", { status: 404 }), Number.POSITIVE_INFINITY],
    ["an API server that does not answer", new ConnectionError("POST", undefined), Number.POSITIVE_INFINITY],
    ["an API server in trouble", new ApiError("POST", { status: 503 }), Number.POSITIVE_INFINITY],
    ["a refusal", new ApiError("POST", { status: 403 }), 0],
  ])("is asked for again after %s, or not", async (_what, error, retries) => {
    let failures = 1;
    const { tokens } = service(() => (failures-- > 0 ? error : undefined));
    await expect(tokens.get()).rejects.toMatchObject({ code: "NodeTokenMissing", retries });
    expect(await tokens.get()).toBe("t2");
  });
});
