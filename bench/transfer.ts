import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { run as command } from "../cluster/run.ts";
import { LocalStore } from "../src/agent/store/store.ts";
import { createAuthority, issue, validFor } from "../src/kube/certificates.ts";
import { Layout } from "../src/store/layout.ts";
import { ORGANIZATION } from "../src/transfer/identity.ts";
import { pathOf } from "../src/transfer/protocol.ts";
import { randomContent, writeCheckpoint } from "../test/support/archive.ts";
import { freePort } from "../test/support/free-ports.ts";
import { startRegistry } from "../test/support/registry.ts";
import { waitFor } from "../test/support/wait-for.ts";
import { hash, upload } from "./lib/pushers.ts";
import {
  atMost,
  type BenchArgs,
  median,
  megabytes,
  type Report,
  seconds,
  thisMachine,
} from "./lib/report.ts";
import type { TransferCost, TransferSource } from "./lib/transfer-once.ts";
import { inTurns } from "./lib/turns.ts";

const GiB = 2 ** 30;
const MEMORY_LIMIT_MB = 200;
const PAGES = "checkpoint/pages-1.img";
/** As the agent's DaemonSet has them. */
const NODE_OPTIONS = ["--max-semi-space-size=2"];
const REPOSITORY = "bench/checkpoint";

/**
 * A copy of 1 GiB that cannot be compressed, from one agent's code to another's on one machine: against the same pages
 * over TLS with `curl`, from `openssl s_server` and from the agent's server, written to disk and hashed with `sha256sum`
 * (the quicker one counts), and against the archive pulled from a registry on the same machine and unpacked.
 */
export async function run({ runs, signal, note }: BenchArgs): Promise<Report> {
  await using parts = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "kcr-bench-"));
  parts.defer(() => rm(directory, { recursive: true, force: true }));
  const at = (...names: string[]): string => join(directory, ...names);

  const archive = await writeCheckpoint(
    at("archive.tar"),
    { podNamespace: "bench", pages: randomContent(GiB) },
    { signal },
  );
  const { digest } = await hash(archive, signal);
  const copy = digest.replace("sha256:", "");
  const registry = await startRegistry();
  parts.defer(() => registry.stop());
  await upload(registry, archive, digest, signal);
  const { size } = await stat(archive);

  const theirs = new LocalStore(new Layout(at("theirs")));
  await theirs.start();
  const read = (): AsyncIterable<Buffer> => createReadStream(archive, { highWaterMark: 2 ** 20 });
  await theirs.add({ name: archive, size, digest: copy, read }, signal);
  const pages = join(theirs.layout.copy(copy), PAGES);
  const pagesDigest = (await hash(pages, signal)).digest.replace("sha256:", "");

  const authority = createAuthority("bench", validFor(1));
  for (const node of ["theirs", "ours"]) {
    const subject = { commonName: node, organizations: [ORGANIZATION], names: ["localhost"] };
    const identity = { ...issue(authority, subject, validFor(1)), ca: authority.cert };
    await writeFile(at(`${node}.json`), JSON.stringify(identity));
    for (const [name, text] of Object.entries(identity)) await writeFile(at(`${node}.${name}`), text);
  }
  const agentPort = await serveCopies(parts, at("theirs"), at("theirs.json"));
  const plainPort = await servePlainly(parts, theirs.layout.copy(copy), at("theirs"), signal);

  const peaks: number[] = [];
  const registryPeaks: number[] = [];
  const once = async (source: TransferSource): Promise<TransferCost> => {
    const program = join(import.meta.dirname, "lib", "transfer-once.ts");
    const argv = [process.execPath, ...NODE_OPTIONS, program, at("ours"), JSON.stringify(source)];
    return JSON.parse(await command(argv, { signal })) as TransferCost;
  };
  /** Into a file that is on disk then, and hashed. */
  const plainly = async (url: string, ...options: string[]): Promise<number> => {
    const start = performance.now();
    const argv = ["curl", "-sSf", "--cacert", at("ours.ca"), ...options, "-o", at("plain"), url];
    await command(argv, { signal });
    await command(["sync", at("plain")], { signal });
    await hash(at("plain"), signal);
    return performance.now() - start;
  };
  const contenders = {
    transfer: async () => {
      const source = {
        type: "peer",
        node: "theirs",
        port: agentPort,
        identity: at("ours.json"),
        copy,
      } as const;
      const cost = await once(source);
      peaks.push(cost.peakBytes);
      return cost.milliseconds;
    },
    openssl: () => plainly(`https://localhost:${plainPort}/${PAGES}`),
    curl: () =>
      plainly(
        `https://localhost:${agentPort}${pathOf({ copy, file: pagesDigest })}`,
        ...["--cert", at("ours.cert"), "--key", at("ours.key")],
      ),
    registry: async () => {
      const layer = { mediaType: "application/octet-stream", digest: digest as `sha256:${string}`, size };
      const source = { type: "registry", address: registry.address, repository: REPOSITORY, layer } as const;
      const cost = await once(source);
      registryPeaks.push(cost.peakBytes);
      return cost.milliseconds;
    },
  };
  const times = await inTurns(runs, contenders, async (contender, round) => {
    note(`round ${round + 1} of ${runs}: ${contender}`);
    await rm(at("ours"), { recursive: true, force: true });
    await rm(at("plain"), { force: true });
    await command(["sync"], { signal });
    await command(["sh", "-c", 'cat "$1" "$2" >/dev/null', "sh", pages, archive], { signal });
  });

  const [transfer, pulled] = [median(times.transfer), median(times.registry)];
  const [openssl, curl] = [median(times.openssl), median(times.curl)];
  const peak = Math.max(...peaks);
  return {
    bench: "transfer",
    machine: thisMachine(),
    runs,
    figures: {
      "node to node, 1 GiB": seconds(transfer),
      "plain TLS copy with sha256, from openssl, 1 GiB": seconds(openssl),
      "plain TLS copy with sha256, from kcr's server, 1 GiB": seconds(curl),
      "from the registry, 1 GiB": seconds(pulled),
      "node to node / from the registry": { value: Number((transfer / pulled).toPrecision(4)), unit: "x" },
      "VmHWM, node to node": megabytes(peak),
      "VmHWM, from the registry": megabytes(Math.max(...registryPeaks)),
    },
    ratios: [
      atMost("node to node / plain TLS copy with sha256", transfer / Math.min(openssl, curl), 1.25),
      atMost("receiver's VmHWM in MB", peak / 1e6, MEMORY_LIMIT_MB),
    ],
  };
}

/** Our own server, in a process of its own; its port. */
async function serveCopies(parts: AsyncDisposableStack, store: string, identity: string): Promise<number> {
  const program = join(import.meta.dirname, "lib", "transfer-serve.ts");
  const child = spawn(process.execPath, [program, store, identity], { stdio: ["pipe", "pipe", "inherit"] });
  parts.defer(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, "exit");
  });
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return Number(line);
}

/** `openssl s_server` for the files below a directory, with the certificate of that name; its port. */
async function servePlainly(
  parts: AsyncDisposableStack,
  files: string,
  certificate: string,
  signal: AbortSignal,
): Promise<number> {
  const port = await freePort();
  const keys = ["-cert", `${certificate}.cert`, "-key", `${certificate}.key`];
  const argv = ["s_server", "-quiet", "-WWW", "-tls1_3", "-accept", `127.0.0.1:${port}`, ...keys];
  const child = spawn("openssl", argv, { cwd: files, stdio: "ignore" });
  parts.defer(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  const probe = ["curl", "-sSf", "--cacert", `${certificate}.ca`, "-o", "/dev/null"];
  await waitFor("the plain server", async () => {
    await command([...probe, `https://localhost:${port}/checkpoint/inventory.img`], { signal });
    return true;
  });
  return port;
}
