import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeCheckpoint } from "../../../test/support/archive.ts";
import { startRegistry, type TestRegistry } from "../../../test/support/registry.ts";
import { digestOf } from "../../oci/digest.ts";
import { verifyImage } from "../../oci/push.ts";
import { RegistryClient } from "../../oci/registry.ts";
import { EXIT } from "../exit.ts";
import { kcr, testIo } from "../testing/io.ts";

let directory: string;
let archive: string;
let registry: TestRegistry;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-push-"));
  archive = await writeCheckpoint(join(directory, "archive.tar"));
  registry = await startRegistry({ auth: "basic", tls: true });
  const { username, password } = registry.credentials!;
  const auth = Buffer.from(`${username}:${password}`).toString("base64");
  await mkdir(join(directory, ".docker"));
  await writeFile(
    join(directory, ".docker/config.json"),
    JSON.stringify({ auths: { [registry.address]: { auth } } }),
  );
  await writeFile(join(directory, "ca.pem"), registry.ca!);
});
afterAll(async () => {
  await registry?.stop();
  await rm(directory, { recursive: true });
});

const push = (path: string, name: string, env: Record<string, string> = { HOME: directory }) =>
  kcr(
    ["push", "-q", path, `${registry.address}/${name}`, "--ca-file", join(directory, "ca.pem")],
    testIo({ env }),
  );

async function manifestOf(reference: string) {
  const [place = "", digest = ""] = reference.trim().split("@");
  const { address, ca, credentials } = registry;
  await using client = new RegistryClient({ address, ca, credentials });
  return await verifyImage(client, place.slice(address.length + 1), digest as `sha256:${string}`);
}

test("kcr push makes an image of an archive, with the person's own login", async () => {
  const { exit, out, err } = await push(archive, "kcr/redis:monday");
  expect([exit, err]).toEqual([EXIT.done, ""]);
  const { layers, annotations } = await manifestOf(out);
  expect(layers).toMatchObject([{ digest: digestOf(await readFile(archive)) }]);
  expect(annotations).toMatchObject({ "org.criu.checkpoint.container.name": "redis" });
});

test("a compressed archive stays compressed", async () => {
  const compressed = join(directory, "archive.tar.gz");
  await writeFile(compressed, gzipSync(await readFile(archive)));
  const { exit, out } = await push(compressed, "kcr/compressed");
  expect(exit).toBe(EXIT.done);
  const { layers } = await manifestOf(out);
  expect(layers).toMatchObject([{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip" }]);
});

test("without a login it says so", async () => {
  const { exit, err } = await push(archive, "kcr/redis", { HOME: "/nowhere" });
  expect(exit).toBe(EXIT.failed);
  expect(err).toContain("RegistryUnauthorized");
});
