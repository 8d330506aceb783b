import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { installCrds } from "../../../test/support/crds.ts";
import { waitFor } from "../../../test/support/wait-for.ts";
import { type Facts, fitsValue, readFacts } from "../../api/facts.ts";
import { FACTS_ANNOTATION, FITS_LABEL } from "../../api/labels.ts";
import { settings } from "../../api/settings.ts";
import { Client } from "../../kube/client.ts";
import { silent } from "../../kube/log.ts";
import { type Node, nodes } from "../../kube/resources.ts";
import { writeStatus } from "../../kube/write.ts";
import { goArchitecture } from "../../oci/image.ts";
import { createAgent } from "../agent.ts";
import { fixedToken } from "../token/token.ts";
import { hostFacts } from "./host.ts";

const kubeconfig = inject("kubeconfig");
let made = 0;

/** The agent on a real API server, of a node that is this machine. */
describe.skipIf(kubeconfig === undefined)("what an agent writes on its node", () => {
  let client: Client;
  let directory: string;
  let name: string;
  let end: (() => Promise<void>) | undefined;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    await installCrds(client);
  });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kcr-facts-"));
    name = `facts-${process.pid}-${made++}`;
  });
  afterEach(async () => {
    await end?.();
    end = undefined;
    await client.delete(nodes, { name });
    await rm(directory, { recursive: true });
  });

  const startAgent = async (): Promise<void> => {
    const stop = new AbortController();
    const agent = createAgent({
      node: name,
      client,
      settings: settings.parse({
        store: "node",
        local: { directory: join(directory, "kcr") },
        kubelet: { checkpointDirectory: join(directory, "checkpoints") },
      }),
      kubelet: { host: "127.0.0.1", port: 1, caFile: "/none", token: fixedToken("none") },
      log: silent,
      now: () => new Date(),
    });
    const running = agent.run(stop.signal);
    running.catch(() => {});
    end = async () => {
      stop.abort();
      await running;
    };
    await waitFor("the agent's caches", () => agent.ready());
  };
  const makeNode = async (metadata: object = {}): Promise<Node> => {
    const node = await client.create(nodes, { metadata: { name, ...metadata } });
    const nodeInfo = { ...node.status?.nodeInfo, containerRuntimeVersion: "containerd://2.3.7" };
    return await writeStatus(client, nodes, node, { nodeInfo });
  };
  const written = (what: string, is: (facts: Facts, node: Node) => boolean): Promise<Node> =>
    waitFor(`${what} on the node`, async () => {
      const node = await client.get(nodes, { name });
      const facts = readFacts(node);
      return facts !== undefined && is(facts, node) && node;
    });

  it("is what is known, with the label that follows from it, and stays whatever others write", async () => {
    await makeNode({ labels: { mine: "1" }, annotations: { mine: "2" } });
    await startAgent();
    const node = await written("facts", () => true);
    const facts = readFacts(node)!;
    const seen = await hostFacts(goArchitecture());
    expect(facts).toEqual({
      ...JSON.parse(JSON.stringify(seen)),
      engine: "containerd",
      engineVersion: "2.3.7",
    });
    expect(node.metadata).toMatchObject({
      labels: { mine: "1", [FITS_LABEL]: fitsValue(facts) },
      annotations: { mine: "2" },
    });

    const lies = { labels: { [FITS_LABEL]: null }, annotations: { [FACTS_ANNOTATION]: '{"criu":"99.0"}' } };
    await client.patch(nodes, { name }, { type: "merge", body: { metadata: lies } });
    // What it had learned itself is not known any more: of a machine that is not this one.
    await written("the facts again", ({ criu }, { metadata }) => {
      return criu === undefined && metadata.labels?.[FITS_LABEL] === fitsValue(facts);
    });
  });

  it("keeps what only a dump says, and follows the runtime", async () => {
    const learned: Facts = { criu: "4.2.1", runtime: "runc" };
    const before = { ...(await hostFacts(goArchitecture())), engine: "containerd", ...learned };
    const node = await makeNode({ annotations: { [FACTS_ANNOTATION]: JSON.stringify(before) } });
    await startAgent();
    await written("the runtime's version", (facts) => facts.engineVersion === "2.3.7");
    const nodeInfo = { ...node.status?.nodeInfo, containerRuntimeVersion: "containerd://2.4.2" };
    await writeStatus(client, nodes, await client.get(nodes, { name }), { nodeInfo });
    const after = await written("its newer version", (facts) => facts.engineVersion === "2.4.2");
    expect(readFacts(after)).toMatchObject(learned);
  });
});
