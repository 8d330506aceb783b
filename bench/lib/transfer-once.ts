import { readFile } from "node:fs/promises";
import { LocalStore } from "../../src/agent/store/store.ts";
import type { Descriptor } from "../../src/oci/manifest.ts";
import { RegistryClient } from "../../src/oci/registry.ts";
import { Layout } from "../../src/store/layout.ts";
import { Peer } from "../../src/transfer/client.ts";
import type { Identity } from "../../src/transfer/identity.ts";
import { Throttle } from "../../src/transfer/throttle.ts";
import { peakMemory } from "./peak-memory.ts";

/** What one copy cost, as this program writes it to its standard output. */
export interface TransferCost {
  milliseconds: number;
  /** The most memory that the process has ever held (VmHWM of proc(5)). */
  peakBytes: number;
}

/** Where a copy comes from. */
export type TransferSource =
  | { type: "peer"; node: string; port: number; identity: string; copy: string }
  | { type: "registry"; address: string; repository: string; layer: Descriptor };

/** Makes one copy, as the agent does, in a process of its own: `transfer-once.ts STORE SOURCE`. */
const [root, given] = process.argv.slice(2);
const source = JSON.parse(given!) as TransferSource;
const { signal } = new AbortController();
const store = new LocalStore(new Layout(root));
await store.start();
const take = source.type === "peer" ? await fromPeer(source) : fromRegistry(source);
const start = performance.now();
await take();
const milliseconds = performance.now() - start;
const cost: TransferCost = { milliseconds, peakBytes: await peakMemory("self") };
console.log(JSON.stringify(cost));

async function fromPeer({ node, port, identity, copy }: Extract<TransferSource, { type: "peer" }>) {
  const own = JSON.parse(await readFile(identity, "utf8")) as Identity;
  return async () => {
    using peer = new Peer({
      node,
      host: "127.0.0.1",
      port,
      identity: () => own,
      throttle: new Throttle(),
    });
    const { archive, files } = await peer.index(copy, signal);
    await store.addFiles(
      { name: node, archive, files },
      (file, path, limit) => peer.fetch(copy, file, path, limit),
      signal,
    );
  };
}

function fromRegistry({ address, repository, layer }: Extract<TransferSource, { type: "registry" }>) {
  return async () => {
    await using client = new RegistryClient({ address, plainHttp: true });
    const digest = layer.digest.replace(/^sha256:/, "");
    const read = () => client.getBlob(repository, layer, { signal });
    await store.add({ name: "registry", size: layer.size, digest, read }, signal);
  };
}
