import { expect, test } from "vitest";
import { PODS } from "../objects/kinds.ts";
import { clientOf } from "../testing/api.ts";
import { testIo } from "../testing/io.ts";
import { takeCheckpoints } from "./command.ts";

test("a request that is refused says which were made before it", async () => {
  let asked = 0;
  await using api = await clientOf((request, response) => {
    if (request.method === "GET") {
      const name = request.url?.split("/").at(-1);
      const containers = [{ name: "app" }];
      response.end(JSON.stringify({ metadata: { name, namespace: "shop" }, spec: { containers } }));
    } else if (++asked < 3) {
      response.end(JSON.stringify({ metadata: { name: `r${asked}`, namespace: "shop" } }));
    } else {
      const refused = { kind: "Status", code: 403, reason: "Forbidden", message: "exceeded quota" };
      response.writeHead(403).end(JSON.stringify(refused));
    }
  });
  const connection = { client: api.client, namespace: "shop", again: "" };
  const targets = ["a", "b", "c"].map((name) => ({ kind: PODS, name }));
  const taken = takeCheckpoints(connection, testIo(), { targets, wait: true, output: "table" });
  await expect(taken).rejects.toMatchObject({
    code: "ApiForbidden",
    message: expect.stringMatching(/exceeded quota; .* going on: .*\/r1, .*\/r2$/),
  });
});
