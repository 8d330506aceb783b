import { expect, test } from "vitest";
import { OWN } from "../objects/kinds.ts";
import { clientOf } from "../testing/api.ts";
import { testIo } from "../testing/io.ts";
import { deleteAll } from "./command.ts";

test("what is named twice, and has the labels besides, is deleted once", async () => {
  const object = { metadata: { namespace: "shop", name: "web-1", uid: "u" } };
  const deleted: string[] = [];
  await using api = await clientOf((request, response) => {
    const { method, url = "" } = request;
    if (method === "DELETE") deleted.push(url);
    const isGone = method === "DELETE" && deleted.length > 1;
    const answer = isGone
      ? { kind: "Status", code: 404, reason: "NotFound", details: { name: "web-1" } }
      : url.includes("labelSelector")
        ? { metadata: {}, items: [object] }
        : object;
    response.writeHead(isGone ? 404 : 200).end(JSON.stringify(answer));
  });
  const io = testIo();
  const target = { kind: OWN.checkpoint, name: "web-1" };
  const connection = { client: api.client, namespace: "shop", again: "" };
  const options = { targets: [target, target], selector: "app=web", yes: true, wait: false };
  await deleteAll(connection, io, options);
  expect(deleted).toHaveLength(1);
  expect(io.written.out).toBe("checkpoint.checkpoint-restore.kcr.io/web-1 is being deleted\n");
});
