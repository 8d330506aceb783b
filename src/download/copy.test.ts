import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkpointEntries, makeTar } from "../../test/support/archive.ts";
import { originalPages } from "../agent/store/original-pages.ts";
import type { Checkpoint } from "../api/checkpoint.ts";
import { createAuthority, issue, validFor } from "../kube/certificates.ts";
import {
  ARCHIVE_REST,
  CONFIG_DUMP,
  COPY_INDEX,
  type CopyIndex,
  contentDigest,
  SPEC_DUMP,
  STATUS_DUMP,
} from "../store/copy.ts";
import { Layout } from "../store/layout.ts";
import { DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION, ORGANIZATION } from "../transfer/identity.ts";
import { serveCopies, type TransferServer } from "../transfer/server.ts";
import { Throttle } from "../transfer/throttle.ts";
import { openCopy } from "./copy.ts";

const never = new AbortController().signal;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const authority = createAuthority("test", validFor(1));
const identityOf = (commonName: string, organization: string) => ({
  ...issue(authority, { commonName, organizations: [organization] }, validFor(1)),
  ca: authority.cert,
});

let directory: string;
let server: TransferServer;
let index: CopyIndex;
let rest: Buffer;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-copy-"));
  const layout = new Layout(directory);
  rest = await makeTar([{ name: "container.log", content: "a line\n" }]);
  const kept = [CONFIG_DUMP, SPEC_DUMP, STATUS_DUMP];
  const contents = [
    ...checkpointEntries({ podNamespace: "shop" })
      .filter(({ name }) => kept.includes(name))
      .map(({ name, content }) => ({ path: name, bytes: Buffer.from(content as string) })),
    { path: ARCHIVE_REST, bytes: rest },
  ];
  const files = contents.map(({ path, bytes }) => ({ path, size: bytes.length, sha256: sha256(bytes) }));
  const archive = sha256(rest);
  index = { version: 1, archive, engine: "containerd", files, openForWriting: [], mounts: [] };
  await mkdir(layout.copy(archive), { recursive: true });
  for (const { path, bytes } of contents) await writeFile(join(layout.copy(archive), path), bytes);
  await writeFile(join(layout.copy(archive), COPY_INDEX), JSON.stringify(index));
  server = await serveCopies({
    sharedPages: originalPages,
    port: 0,
    host: "127.0.0.1",
    layout,
    identity: identityOf("node-a", ORGANIZATION),
    mayHave: async () => true,
    atOnce: 2,
    throttle: new Throttle(),
  });
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

const open = (namespace: string) =>
  openCopy(
    {
      metadata: { namespace, name: "c1" },
      spec: { nodeName: "node-a" },
      status: { digest: `sha256:${index.archive}`, contentDigest: contentDigest(index) },
    } as Checkpoint,
    "node-a",
    {
      identity: () => identityOf(DOWNLOAD_NAME, DOWNLOAD_ORGANIZATION),
      throttle: new Throttle(),
      find: async () => ({ host: "127.0.0.1", port: server.port }),
    },
    never,
  );

test("a copy gives its archive", async () => {
  await using archive = await open("shop");
  expect(archive.size).toBe(rest.length);
  const bytes = await buffer(archive.read({ from: 0, end: archive.size }, never) as AsyncIterable<Buffer>);
  expect(bytes.equals(rest)).toBe(true);
});

test("a Checkpoint that names the copy of another namespace's pod gives nothing", async () => {
  await expect(open("mine")).rejects.toMatchObject({ name: "TransferError", code: "refused" });
});
