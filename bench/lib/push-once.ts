import { pushCheckpointImage } from "../../src/oci/checkpoint-image.ts";
import { RegistryClient } from "../../src/oci/registry.ts";
import { peakMemory } from "./peak-memory.ts";

/** What one push cost, as this program writes it to its standard output. */
export interface PushCost {
  milliseconds: number;
  /** The most memory that the process has ever held (VmHWM of proc(5)). */
  peakBytes: number;
}

/** Pushes one archive in a process of its own: `push-once.ts ADDRESS REPOSITORY ARCHIVE`. */
const [address, repository, archive] = process.argv.slice(2);
await using client = new RegistryClient({ address: address!, plainHttp: true });
const start = performance.now();
await pushCheckpointImage({
  client,
  repository: repository!,
  tag: "bench",
  archive: archive!,
  config: { architecture: "amd64", user: "0:0" },
  annotations: { "org.criu.checkpoint.container.name": "bench" },
});
const milliseconds = performance.now() - start;
const cost: PushCost = { milliseconds, peakBytes: await peakMemory("self") };
console.log(JSON.stringify(cost));
