import { isDeepStrictEqual } from "node:util";
import { type Facts, known, readFacts } from "../../api/facts.ts";
import type { Node } from "../../kube/resources.ts";
import { goArchitecture } from "../../oci/image.ts";
import { hostFacts } from "./host.ts";

/**
 * What is known of the agent's node: what any process sees of its machine, what its kubelet says of the runtime, and
 * what only an archive says that was made there (CRIU, xsave, the OCI runtime).
 */
export class NodeFacts {
  readonly #host: () => Promise<Facts>;
  readonly #listeners = new Set<() => void>();
  #read: Promise<Facts> | undefined;
  #learned: Facts = {};

  /** `host` says what is seen of the machine; it is asked once, for an agent does not outlive its kernel. */
  constructor(host: () => Promise<Facts> = () => hostFacts(goArchitecture())) {
    this.#host = host;
  }

  /** From an archive that was made a moment ago on this node: what it says holds until the next one. */
  learn({ criu, xsave, runtime }: Facts): void {
    this.#learned = { ...this.#learned, ...known({ criu, xsave, runtime }) };
    for (const changed of this.#listeners) changed();
  }

  /** Calls back after each `learn`; the result ends that. */
  subscribe(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => this.#listeners.delete(changed);
  }

  /**
   * Until something was dumped, what an agent before this one had written on the node is taken to hold, as long as
   * the machine is the same.
   *
   * Errors: those of reading /proc, after which it is read again.
   */
  async of(node: Node | undefined): Promise<Facts> {
    this.#read ??= this.#host();
    const seen = await this.#read.catch((error: unknown) => {
      this.#read = undefined;
      throw error;
    });
    const { containerRuntimeVersion = "" } = node?.status?.nodeInfo ?? {};
    const [, engine, engineVersion] = /^([a-z-]{1,64}):\/\/(\S{1,128})$/.exec(containerRuntimeVersion) ?? [];
    return { ...seen, engine, engineVersion, ...(node && writtenBefore(node, seen)), ...this.#learned };
  }
}

function writtenBefore(node: Node, seen: Facts): Facts | undefined {
  const before = readFacts(node);
  if (before === undefined) return undefined;
  const { criu, xsave, runtime, engine: _, engineVersion: __, ...machine } = before;
  return isDeepStrictEqual(machine, known(seen)) ? known({ criu, xsave, runtime }) : undefined;
}
