import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { afterEach, beforeEach, expect, it } from "vitest";
import { containerStatus } from "./cri.ts";

let directory: string;
let server: Http2Server;
/** What the runtime answers, and what it was asked. */
let answer: { message?: Uint8Array; status: number; text?: string };
let asked: Buffer;

const socket = () => join(directory, "cri.sock");

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "kcr-cri-"));
  server = createServer();
  server.on("stream", (stream: ServerHttp2Stream) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      asked = Buffer.concat(chunks);
      const { message, status, text = "" } = answer;
      const trailers = { "grpc-status": `${status}`, "grpc-message": encodeURIComponent(text) };
      if (message === undefined) {
        stream.respond(
          { ":status": 200, "content-type": "application/grpc", ...trailers },
          { endStream: true },
        );
        return;
      }
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(message.length, 1);
      stream.end(Buffer.concat([prefix, message]));
    });
  });
  await new Promise<void>((resolve) => server.listen(socket(), resolve));
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});

const tag = (field: number, type: number) => (field << 3) | type;
const text = (writer: BinaryWriter, field: number, value: string) =>
  writer.uint32(tag(field, 2)).string(value);
const nested = (writer: BinaryWriter, field: number, inner: (writer: BinaryWriter) => void) => {
  writer.uint32(tag(field, 2)).fork();
  inner(writer);
  writer.join();
};

it("gives the status of a container as Go's JSON has it, every digit of its numbers", async () => {
  const writer = new BinaryWriter();
  nested(writer, 1, (status) => {
    text(status, 1, "abc");
    nested(status, 2, (metadata) => text(metadata, 1, "app").uint32(tag(2, 0)).uint32(3));
    status.uint32(tag(4, 0)).int64("1795277334123456789");
    nested(status, 8, (image) => text(image, 1, "busybox"));
    text(status, 9, "busybox@sha256:00");
    for (const [key, value] of [
      ["a", "1"],
      ["__proto__", "2"],
    ] as const) {
      nested(status, 12, (entry) => text(text(entry, 1, key), 2, value));
    }
    nested(status, 14, (mount) => text(mount, 1, "/data").uint32(tag(3, 0)).bool(true));
    text(status, 15, "/var/log/pods/x/0.log");
    nested(status, 16, (resources) => nested(resources, 1, (linux) => linux.uint32(tag(5, 0)).int64("-997")));
    nested(status, 18, (user) =>
      nested(user, 1, (linux) => linux.uint32(tag(3, 2)).fork().int64(1).int64(2).join()),
    );
    // A field of a later version.
    text(status, 99, "unheard of");
  });
  answer = { message: writer.finish(), status: 0 };
  const status = await containerStatus(socket(), "abc");
  expect(asked.subarray(5).toString("latin1")).toBe("\n\x03abc");
  expect(status).toMatchObject({
    name: "app____3",
    image: "busybox",
    imageRef: "busybox@sha256:00",
    created: "2026-11-21T16:08:54.123456789Z",
    logPath: "/var/log/pods/x/0.log",
  });
  expect(status.json).toBe(
    '{"id":"abc","metadata":{"name":"app","attempt":3},"created_at":1795277334123456789,"image":{"image":"busybox"},' +
      '"image_ref":"busybox@sha256:00","labels":{"a":"1","__proto__":"2"},"mounts":[{"container_path":"/data","readonly":true}],' +
      '"log_path":"/var/log/pods/x/0.log","resources":{"linux":{"oom_score_adj":-997}},"user":{"linux":{"supplemental_groups":[1,2]}}}',
  );
});

it.each([
  ["a container that is gone", { status: 5, text: "not found" }, "Gone"],
  ["a runtime that does not serve it", { status: 12, text: "unknown service" }, "Unsupported"],
])("says so of %s", async (_, said, reason) => {
  answer = said;
  await expect(containerStatus(socket(), "abc")).rejects.toMatchObject({ reason });
});

it("says so where there is no runtime", async () => {
  await expect(containerStatus(join(directory, "none.sock"), "abc")).rejects.toMatchObject({
    reason: "Unsupported",
  });
});
