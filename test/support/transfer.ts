import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pushImage } from "../../cluster/images.ts";
import type { Checkpoint } from "../../src/api/checkpoint.ts";
import { API_VERSION } from "../../src/api/group.ts";
import { restores } from "../../src/api/kinds.ts";
import type { CheckpointRestore } from "../../src/api/restore.ts";
import { deployments, type Pod } from "../../src/kube/resources.ts";
import { COPY_INDEX, type CopyIndex } from "../../src/store/copy.ts";
import { Layout } from "../../src/store/layout.ts";
import type { Installation } from "./installation.ts";
import { deployProtected } from "./runtime.ts";
import { waitFor } from "./wait-for.ts";
import { RARELY, type World } from "./world.ts";

/** Where agents answer each other. */
export const TRANSFER_PORT = 8444;
/** How long a transfer lasts that is to be cut, in seconds: long enough to have a middle. */
const SECONDS = 8;
/** Where it is cut, as parts of the whole. */
const CUTS = [0.15, 0.4, 0.6];

/** Holds bytes that cannot be compressed in its memory alone; says how often it was asked, and what they are. */
const HOLDER = `
import hashlib, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
held = os.urandom(int(sys.argv[1]))
asked = 0
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{asked} {hashlib.sha256(held).hexdigest()}".encode())
    def log_message(self, *_):
        pass
HTTPServer(("", 8080), Answer).serve_forever()
`;

/** A pod with so many bytes in memory. */
async function deployHolder(world: World, name: string, node: string, bytes: number): Promise<Pod> {
  const container = {
    image: await pushImage("python", world.cluster.registry.push),
    command: ["python3", "-c", HOLDER, `${bytes}`],
    readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
  };
  return await deployProtected(world, { name, schedule: RARELY, node, containers: [container] });
}

/** What the pod's program says. */
async function ask({ status }: Pod): Promise<{ asked: number; sha256: string }> {
  const answer = await fetch(`http://${status?.podIP}:8080/`, { signal: AbortSignal.timeout(20_000) });
  const [asked, sha256 = ""] = (await answer.text()).split(" ");
  return { asked: Number(asked), sha256 };
}

/** Name of a Checkpoint's copy on whatever node. */
export const copyOf = ({ status }: Checkpoint): string => (status?.digest ?? "").replace("sha256:", "");

/** kcr's directory on a node, as the host sees it. */
export const layoutOf = (world: World, node: string): Layout =>
  new Layout(world.cluster.dataDir(node, "kcr"));

/** Asks for a restore, and does not wait for it. */
export function wish(
  world: World,
  name: string,
  checkpoint: Checkpoint,
  pod: Pod,
): Promise<CheckpointRestore> {
  return world.client.create(restores, {
    apiVersion: API_VERSION,
    kind: restores.kind,
    metadata: { namespace: world.namespace, name },
    spec: {
      checkpointName: checkpoint.metadata.name,
      podReference: { name: pod.metadata.name },
      discardCurrent: true,
    },
  });
}

/** How a checkpoint came to another node. */
export interface Crossing {
  /** Bytes of all its files. */
  size: number;
  /** Bytes that the sending node's agent has sent for that, with those of TCP and TLS. */
  sent: number;
  /** How many bytes had come when the connection was cut. */
  cuts: number[];
}

/**
 * Has a program with that much in memory go on in another pod, on another node, while the registry is down and the
 * transfer is cut three times: the connection is reset, then the sending agent is killed, then the receiving one.
 *
 * Errors: what does not hold: a restore that fails, bytes that are not the same, a cut that came too late.
 */
export async function crossOverCuts(
  world: World,
  kcr: Installation,
  bytes: number,
  name = "cross",
): Promise<Crossing> {
  const { cluster } = world;
  const [from, to] = [world.worker("2.4"), world.worker("2.3")];
  const [source, target] = await Promise.all([
    deployHolder(world, `${name}-from`, from, bytes),
    deployHolder(world, `${name}-to`, to, bytes),
  ]);
  await using undo = new AsyncDisposableStack();
  for (const stem of ["from", "to"]) {
    const deployment = { namespace: world.namespace, name: `${name}-${stem}` };
    undo.defer(() => world.client.delete(deployments, deployment));
  }
  const before = await ask(source);
  await cluster.stopPart("registry");
  undo.defer(async () => {
    await cluster.startPart("registry");
    await cluster.waitReady();
  });

  const checkpoint = await world.checkpoint(source);
  const { copies, imageDigest } = checkpoint.status ?? {};
  if (imageDigest !== undefined || copies?.map(({ node }) => node).join() !== from) {
    throw new Error(`the Checkpoint is elsewhere than on ${from} alone: ${JSON.stringify(copies)}`);
  }
  const index = await indexOf(world, from, checkpoint);
  const size = new Map(index.files.map((file) => [file.sha256, file.size]))
    .values()
    .reduce((sum, part) => sum + part, 0);
  const sender = await kcr.agent(from);
  undo.use(await countSent(world, sender));
  undo.use(await slowDown(kcr, from, size / SECONDS));

  await wish(world, name, checkpoint, target);
  const layout = layoutOf(world, to);
  const [incoming, copy] = [layout.incoming(copyOf(checkpoint)), layout.copy(copyOf(checkpoint))];
  const cuts: number[] = [];
  const means = [() => reset(kcr, to), () => kill(kcr, from), () => kill(kcr, to)];
  for (const [at, prepare] of means.entries()) {
    const cut = await prepare();
    const wanted = size * CUTS[at]!;
    const came = await waitFor(
      `${wanted} bytes to have come`,
      async () => {
        const bytes = await bytesIn(incoming);
        return bytes > wanted && bytes;
      },
      { intervalMs: 20, timeoutMs: 120_000 },
    );
    await cut();
    if (existsSync(copy)) throw new Error(`the cut at ${came} bytes came when all of it had come`);
    cuts.push(came);
  }
  const { status } = await world.restored(name);
  if (status?.phase !== "Completed") throw new Error(`${status?.reason}: ${status?.message}`);
  const sent = await sentBy(world, sender);

  await assertSame(world, checkpoint, to, index);
  const after = await ask(await world.podOf(`${name}-to`));
  if (after.sha256 !== before.sha256 || after.asked !== before.asked + 1) {
    throw new Error(`it was ${JSON.stringify(before)}, and went on as ${JSON.stringify(after)}`);
  }
  return { size, sent, cuts };
}

async function indexOf(world: World, node: string, checkpoint: Checkpoint): Promise<CopyIndex> {
  const path = join(layoutOf(world, node).copy(copyOf(checkpoint)), COPY_INDEX);
  return JSON.parse(await readFile(path, "utf8")) as CopyIndex;
}

/** Errors: a file of a Checkpoint's copy on a node that is not, byte by byte, what that index says. */
async function assertSame(
  world: World,
  checkpoint: Checkpoint,
  node: string,
  { files }: CopyIndex,
): Promise<void> {
  const copy = layoutOf(world, node).copy(copyOf(checkpoint));
  for (const { path, sha256 } of files) {
    const found = createHash("sha256");
    const content = createReadStream(join(copy, path), { highWaterMark: 2 ** 20 });
    for await (const chunk of content) found.update(chunk);
    if (found.digest("hex") !== sha256) throw new Error(`${path} on ${node} is not what was dumped`);
  }
}

/** Bytes of the files in a directory that others fill and remove. */
async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(directory, name)).then(
        (file) => file.size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

const TABLE = "kcr-test";

/** Has a node count what its agent sends to others, also over the agent's end. */
async function countSent(world: World, agent: Pod): Promise<AsyncDisposable> {
  const node = agent.spec?.nodeName ?? "";
  const nft = (rules: string) => world.cluster.nodeExec(node, ["nft", rules]);
  await nft(`table ip ${TABLE} {
    counter sent {}
    chain forward {
      type filter hook forward priority 0;
      ip saddr ${agent.status?.podIP} tcp sport ${TRANSFER_PORT} counter name sent
    }
  }`);
  return {
    async [Symbol.asyncDispose]() {
      await nft(`delete table ip ${TABLE}`);
    },
  };
}

async function sentBy(world: World, agent: Pod): Promise<number> {
  const list = ["nft", "list", "counter", "ip", TABLE, "sent"];
  const said = await world.cluster.nodeExec(agent.spec?.nodeName ?? "", list);
  const bytes = /bytes (\d+)/.exec(said)?.[1];
  if (bytes === undefined) throw new Error(`no counter: ${said}`);
  return Number(bytes);
}

/** Holds what a node's agent sends to so many bytes a second. */
async function slowDown(kcr: Installation, node: string, bytesPerSecond: number): Promise<AsyncDisposable> {
  const tc = async (verb: "add" | "del", ...more: string[]) =>
    await kcr.inNetworkOf(await kcr.agent(node), ["tc", "qdisc", verb, "dev", "eth0", "root", ...more]);
  const rate = `${Math.round(bytesPerSecond)}bps`;
  await tc("add", "tbf", "rate", rate, "burst", "4mb", "latency", "200ms");
  return {
    async [Symbol.asyncDispose]() {
      await tc("del");
    },
  };
}

type Cut = () => Promise<void>;

/** Resets the connections of a node's agent to others. */
async function reset(kcr: Installation, node: string): Promise<Cut> {
  const agent = await kcr.agent(node);
  return async () => {
    const killed = await kcr.inNetworkOf(agent, ["ss", "-HKtn", "dport", "=", `:${TRANSFER_PORT}`]);
    if (killed.trim() === "") throw new Error("there was no connection to cut");
  };
}

async function kill(kcr: Installation, node: string): Promise<Cut> {
  const agent = await waitFor(`the agent of ${node} to run`, async () => {
    const agent = await kcr.agent(node);
    return agent.status?.containerStatuses?.every(({ ready }) => ready) && agent;
  });
  return () => kcr.signal(agent, "SIGKILL");
}
