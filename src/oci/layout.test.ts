import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { digestOf } from "./digest.ts";
import { blobPath, createLayout, putDocument } from "./layout.ts";

test("a layout that several fill at once with the same blob has it whole, and no parts of it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kcr-layout-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  const bytes = Buffer.alloc(100_000, "x");
  const document = { bytes, digest: digestOf(bytes), size: bytes.length, mediaType: "text/plain" };
  await createLayout(directory);
  await Promise.all(Array.from({ length: 20 }, () => putDocument(directory, document as never)));
  const path = blobPath(directory, document.digest);
  expect(await readdir(dirname(path))).toEqual([document.digest.replace("sha256:", "")]);
});
