import { createHash } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { request } from "node:https";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { BUNDLE_KEY, TRANSFER_AUTHORITY } from "../../../src/api/agent-certificate.ts";
import type { Checkpoint } from "../../../src/api/checkpoint.ts";
import { checkpoints, restores } from "../../../src/api/kinds.ts";
import { fromData, signerOf } from "../../../src/kube/authority.ts";
import { createAuthority, issue, type KeyPair, validFor } from "../../../src/kube/certificates.ts";
import { configMaps, type Pod, secrets } from "../../../src/kube/resources.ts";
import { ORGANIZATION } from "../../../src/transfer/identity.ts";
import { pathOf } from "../../../src/transfer/protocol.ts";
import { Installation } from "../../support/installation.ts";
import { advance, carrier, mark } from "../../support/programs.ts";
import { capture, deployProtected, handlersReady } from "../../support/runtime.ts";
import { copyOf, crossOverCuts, layoutOf, TRANSFER_PORT, wish } from "../../support/transfer.ts";
import { waitFor } from "../../support/wait-for.ts";
import { RARELY, World } from "../../support/world.ts";

const cluster = inject("cluster");
const MiB = 2 ** 20;
const HEALTH_PORT = 8081;

describe.skipIf(cluster === undefined)("a checkpoint that is on another node", () => {
  let world: World;
  let kcr: Installation;
  /** The node that has it, and the one that wants it. */
  let from: string;
  let to: string;
  let source: Pod;
  let target: Pod;
  beforeAll(async () => {
    world = await World.enter(cluster!, "transfer");
    kcr = new Installation(world);
    [from, to] = [world.worker("2.4"), world.worker("2.3")];
    await handlersReady(world, from, to);
    [source, target] = await Promise.all([deploy("source", from), deploy("target", to)]);
  });
  afterAll(() => world.leave());

  const sha256 = async (path: string): Promise<string> =>
    createHash("sha256")
      .update(await readFile(path))
      .digest("hex");

  /** Changes one bit in the middle of a file. */
  async function flip(path: string): Promise<void> {
    await using file = await open(path, "r+");
    const at = Math.floor((await file.stat()).size / 2);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0]! ^= 1;
    await file.write(byte, 0, 1, at);
  }

  const deploy = (name: string, node: string): Promise<Pod> =>
    deployProtected(world, { name, schedule: RARELY, node, containers: [carrier(world)] });

  describe("is given to nobody", () => {
    let address: string;
    let checkpoint: Checkpoint;
    let trusted: KeyPair;
    /** From here on the node that wants it has a reason, and cannot reach the one that has it. */
    beforeAll(async () => {
      const name = { namespace: kcr.namespace, name: TRANSFER_AUTHORITY };
      trusted = signerOf(fromData((await world.client.get(secrets, name)).data), new Date())!;
      const agent = await kcr.agent(from);
      address = agent.status?.podIP ?? "";
      await advance(world, source);
      checkpoint = await capture(world, source);
      const held = `table ip kcr-test {
        chain input {
          type filter hook input priority 0;
          ip saddr ${(await kcr.agent(to)).status?.podIP} tcp dport ${TRANSFER_PORT} drop
        }
      }`;
      await kcr.inNetworkOf(agent, ["nft", held]);
      await wish(world, "held-up", checkpoint, target);
      await waitFor("the restore to be under way", async () => {
        const { status } = await world.client.get(restores, { namespace: world.namespace, name: "held-up" });
        return status?.phase === "Restoring" && status.strategy === "Runtime" && status.nodeName === to;
      });
    });
    afterAll(async () => {
      await kcr.inNetworkOf(await kcr.agent(from), ["nft", "delete table ip kcr-test"]);
      expect((await world.restored("held-up")).status).toMatchObject({ phase: "Completed" });
      expect(await mark(world, target)).toBe(1);
    });

    const certificate = (node: string, organizations = [ORGANIZATION], by = trusted): KeyPair =>
      issue(by, { commonName: node, organizations }, validFor(1));
    const past = { notBefore: new Date(Date.now() - 7_200_000), notAfter: new Date(Date.now() - 3_600_000) };

    /** What the agent that has it answers to who shows that: a status, or the error that there was, and how much. */
    function get(shown: Partial<KeyPair>, path: string): Promise<{ status: number | string; bytes: number }> {
      return new Promise((resolve) => {
        const { cert, key } = shown;
        const options = { host: address, port: TRANSFER_PORT, path, cert, key };
        const asking = request({ ...options, agent: false, rejectUnauthorized: false, timeout: 10_000 });
        asking.once("response", async (response) => {
          let bytes = 0;
          for await (const chunk of response) bytes += chunk.length;
          resolve({ status: response.statusCode ?? 0, bytes });
        });
        asking.once("timeout", () => asking.destroy(new Error("no answer")));
        asking.once("error", (error: NodeJS.ErrnoException) =>
          resolve({ status: error.code ?? error.message, bytes: 0 }),
        );
        asking.end();
      });
    }

    /** The index, and the file with the memory. */
    async function paths(): Promise<string[]> {
      const copy = copyOf(checkpoint);
      const sum = await kcr.digest(from, `/var/lib/kcr/store/copies/${copy}/checkpoint/pages-1.img`);
      return [pathOf({ copy }), pathOf({ copy, file: sum.replace("sha256:", "") })];
    }

    it("without the certificate of an agent of a node that has a reason, which has all of it", async () => {
      const stranger = createAuthority("kcr-transfer", validFor(1));
      const refused: [string, Partial<KeyPair>, unknown][] = [
        ["none", {}, expect.stringMatching(/^(ECONNRESET|EPIPE|ERR_SSL_.*)$/)],
        ["one of another authority", certificate(to, [ORGANIZATION], stranger), expect.any(String)],
        [
          "an old one",
          issue(trusted, { commonName: to, organizations: [ORGANIZATION] }, past),
          expect.any(String),
        ],
        ["one for something else", certificate(to, ["system:nodes"]), 403],
        ["one for more than that", certificate(to, [ORGANIZATION, "system:masters"]), 403],
        ["the authority's own", trusted, expect.anything()],
        ["that of another node", certificate(from), 403],
        ["that of no node", certificate("worker-3"), 403],
      ];
      for (const path of await paths()) {
        for (const [what, shown, status] of refused) {
          const answer = await get(shown, path);
          expect(answer, what).toEqual({ status, bytes: 0 });
          expect(answer.status, what).not.toBe(200);
        }
        const given = await get(certificate(to), path);
        expect(given.status).toBe(200);
        expect(given.bytes).toBeGreaterThan(1000);
      }
    });

    it("who does not speak TLS", async () => {
      const [path] = await paths();
      const said = await new Promise<string>((resolve) => {
        const socket = connect({ host: address, port: TRANSFER_PORT, timeout: 15_000 });
        const heard: Buffer[] = [];
        socket.on("data", (chunk) => heard.push(Buffer.from(chunk)));
        socket.on("error", () => {});
        socket.once("timeout", () => socket.destroy());
        socket.once("close", () => resolve(Buffer.concat(heard).toString("latin1")));
        socket.write(`GET ${path} HTTP/1.1\r\nHost: ${address}\r\n\r\n`);
      });
      expect(said).not.toContain("HTTP/1.1");
      expect(said.length).toBeLessThan(100);
    });

    it("at any other door: an agent listens for other agents, and for who asks how it is, and for nothing else", async () => {
      for (const node of [from, to]) {
        const agent = await kcr.agent(node);
        const listening = await kcr.inNetworkOf(agent, ["ss", "-Hltn"]);
        const ports = [...listening.matchAll(/^LISTEN\s+\d+\s+\d+\s+\S+:(\d+)\s/gm)].map(([, port]) => port);
        expect(ports.sort()).toEqual([`${HEALTH_PORT}`, `${TRANSFER_PORT}`]);
        expect(await kcr.inNetworkOf(agent, ["ss", "-Hlunw"])).toBe("");
        const url = `http://${agent.status?.podIP}:${HEALTH_PORT}${pathOf({ copy: copyOf(checkpoint) })}`;
        expect((await fetch(url)).status).toBe(404);
      }
    });

    it("and whom agents trust, everybody may know, but not by what key", async () => {
      const name = { namespace: kcr.namespace, name: TRANSFER_AUTHORITY };
      const { data } = await world.client.get(configMaps, name);
      expect(Object.keys(data ?? {})).toEqual([BUNDLE_KEY]);
      expect(data?.[BUNDLE_KEY]).toContain(trusted.cert.trim());
      expect(data?.[BUNDLE_KEY]).not.toContain("PRIVATE");
    });
  });

  it("and damaged there comes from the registry instead; its node hears of it, and makes its copy anew", async () => {
    await advance(world, source);
    const checkpoint = await capture(world, source);
    await waitFor("its image", async () => {
      const { status } = await world.client.get(checkpoints, checkpoint.metadata);
      return status?.phase === "ImageBuilt";
    });
    const carried = await mark(world, source);
    const pages = `${layoutOf(world, from).copy(copyOf(checkpoint))}/checkpoint/pages-1.img`;
    const before = await sha256(pages);
    await flip(pages);
    expect(await sha256(pages)).not.toBe(before);
    const receiver = await kcr.agent(to);
    const refusals = () => kcr.metric(receiver, 'kcr_transfer_copies_total{result="damaged"}');
    const known = await refusals();

    const { status } = await world.goBack("damaged", {
      checkpointName: checkpoint.metadata.name,
      podReference: { name: target.metadata.name },
      discardCurrent: true,
    });
    expect(status).toMatchObject({ phase: "Completed" });
    expect(await refusals()).toBe(known + 1);
    expect(await mark(world, target)).toBe(carried);
    await waitFor("the copy to be whole again", async () => (await sha256(pages).catch(() => "")) === before);
    const copied = `${layoutOf(world, to).copy(copyOf(checkpoint))}/checkpoint/pages-1.img`;
    expect(await sha256(copied)).toBe(before);
    await waitFor("the Checkpoint to tell of both copies", async () => {
      const { status } = await world.client.get(checkpoints, checkpoint.metadata);
      const places = (status?.copies ?? []).flatMap(({ node }) => node ?? []);
      return places.length === 2 && places.includes(from) && places.includes(to);
    });
  });

  it("alone comes from there, over a reset connection and the ends of both agents, and goes on", async () => {
    const { size, sent, cuts } = await crossOverCuts(world, kcr, 256 * MiB);
    expect(size).toBeGreaterThan(256 * MiB);
    expect(cuts).toHaveLength(3);
    // What was on its way at a cut comes again: far less than all of it.
    expect(sent).toBeGreaterThan(size);
    expect(sent).toBeLessThan(1.15 * size);
  });
});
