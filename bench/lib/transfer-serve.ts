import { readFile } from "node:fs/promises";
import { originalPages } from "../../src/agent/store/original-pages.ts";
import { Layout } from "../../src/store/layout.ts";
import type { Identity } from "../../src/transfer/identity.ts";
import { serveCopies } from "../../src/transfer/server.ts";
import { Throttle } from "../../src/transfer/throttle.ts";

/**
 * Hands out the copies of a store, in a process of its own: `transfer-serve.ts STORE IDENTITY`. Writes its port to
 * standard output, and ends with its standard input.
 */
const [store, identity] = process.argv.slice(2);
const server = await serveCopies({
  sharedPages: originalPages,
  port: 0,
  host: "127.0.0.1",
  layout: new Layout(store),
  identity: JSON.parse(await readFile(identity!, "utf8")) as Identity,
  mayHave: async () => true,
  atOnce: 2,
  throttle: new Throttle(),
});
console.log(server.port);
process.stdin.resume().on("end", () => void server.close());
