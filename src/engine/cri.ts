import { connect, constants } from "node:http2";
import { connect as connectSocket } from "node:net";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { z } from "zod";
import { DumpError } from "./error.ts";
import { type Message, readMessage, type Schema } from "./messages.ts";

/**
 * What the runtime says of a container over the CRI (runtime.v1.RuntimeService, k8s.io/cri-api): the JSON that
 * containerd itself puts into an archive as status.dump, and what is taken from it here.
 */
export interface ContainerStatus {
  json: string;
  /** containerd's own name for it: `<container>_<pod>_<namespace>_<pod UID>_<attempt>` (internal/cri/server/helpers.go). */
  name: string;
  image: string;
  imageRef: string;
  /** RFC 3339. */
  created: string;
  /** Path on the host. */
  logPath: string;
}

const imageSpec: Schema = {
  1: ["image", "text"],
  2: ["annotations", "map"],
  18: ["user_specified_image", "text"],
  19: ["runtime_handler", "text"],
  20: ["image_ref", "text"],
};
const idMapping: Schema = {
  1: ["host_id", "number"],
  2: ["container_id", "number"],
  3: ["length", "number"],
};
const mount: Schema = {
  1: ["container_path", "text"],
  2: ["host_path", "text"],
  3: ["readonly", "bool"],
  4: ["selinux_relabel", "bool"],
  5: ["propagation", "number"],
  6: ["uidMappings", { each: idMapping }],
  7: ["gidMappings", { each: idMapping }],
  8: ["recursive_read_only", "bool"],
  9: ["image", imageSpec],
  10: ["image_sub_path", "text"],
  11: ["mount_options", "texts"],
};
const linuxResources: Schema = {
  1: ["cpu_period", "number"],
  2: ["cpu_quota", "number"],
  3: ["cpu_shares", "number"],
  4: ["memory_limit_in_bytes", "number"],
  5: ["oom_score_adj", "number"],
  6: ["cpuset_cpus", "text"],
  7: ["cpuset_mems", "text"],
  8: ["hugepage_limits", { each: { 1: ["page_size", "text"], 2: ["limit", "number"] } }],
  9: ["unified", "map"],
  10: ["memory_swap_limit_in_bytes", "number"],
};
const linuxUser: Schema = {
  1: ["uid", "number"],
  2: ["gid", "number"],
  3: ["supplemental_groups", "numbers"],
};
const status: Schema = {
  1: ["id", "text"],
  2: ["metadata", { 1: ["name", "text"], 2: ["attempt", "number"] }],
  3: ["state", "number"],
  4: ["created_at", "number"],
  5: ["started_at", "number"],
  6: ["finished_at", "number"],
  7: ["exit_code", "number"],
  8: ["image", imageSpec],
  9: ["image_ref", "text"],
  10: ["reason", "text"],
  11: ["message", "text"],
  12: ["labels", "map"],
  13: ["annotations", "map"],
  14: ["mounts", { each: mount }],
  15: ["log_path", "text"],
  16: ["resources", { 1: ["linux", linuxResources] }],
  17: ["image_id", "text"],
  18: ["user", { 1: ["linux", linuxUser] }],
  19: ["stop_signal", "number"],
};
const response: Schema = { 1: ["status", status] };

const label = z.string().default("");
const used = z.object({
  metadata: z.object({ name: label }).default({ name: "" }),
  labels: z
    .object({
      "io.kubernetes.pod.name": label,
      "io.kubernetes.pod.namespace": label,
      "io.kubernetes.pod.uid": label,
    })
    .prefault({}),
  image: z.object({ image: z.string().default("") }).default({ image: "" }),
  image_ref: z.string().default(""),
  log_path: z.string().default(""),
});

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** Asks the runtime at `socket`. Errors: {@link DumpError} `Gone`, `Unsupported`. */
export async function containerStatus(socket: string, id: string): Promise<ContainerStatus> {
  const request = new BinaryWriter()
    .uint32((1 << 3) | 2)
    .string(id)
    .finish();
  const bytes = await call(socket, "/runtime.v1.RuntimeService/ContainerStatus", request);
  const { status: found = {} } = readMessage(response, bytes) as { status?: Message };
  const { metadata, labels, image, image_ref, log_path } = used.parse(found);
  const { attempt = 0 } = (found["metadata"] ?? {}) as Message;
  const nanoseconds = BigInt(JSON.stringify(found["created_at"] ?? 0));
  return {
    json: JSON.stringify(found),
    name: [
      metadata.name,
      labels["io.kubernetes.pod.name"],
      labels["io.kubernetes.pod.namespace"],
      labels["io.kubernetes.pod.uid"],
      JSON.stringify(attempt),
    ].join("_"),
    image: image.image,
    imageRef: image_ref,
    created: timeOf(nanoseconds),
    logPath: log_path,
  };
}

/** RFC 3339 with nanoseconds, as Go writes it. */
function timeOf(nanoseconds: bigint): string {
  const seconds = new Date(Number(nanoseconds / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(nanoseconds % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** One unary call of gRPC over HTTP/2: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
async function call(socket: string, path: string, message: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const unsupported = (cause: unknown) =>
    reject(new DumpError("Unsupported", `the runtime's CRI at ${socket} does not answer`, { cause }));
  const session = connect("http://localhost", { createConnection: () => connectSocket(socket) });
  session.on("error", unsupported);
  session.setTimeout(TIMEOUT_MS, () => session.destroy(new Error("no answer in time")));
  const stream = session.request({
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let ending: Record<string, unknown> = {};
  stream.on("error", unsupported);
  stream.on("response", (headers) => {
    ending = headers;
  });
  stream.on("trailers", (trailers) => {
    ending = { ...ending, ...trailers };
  });
  stream.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BYTES) session.destroy(new Error("an answer beyond all measure"));
  });
  stream.on("end", () => {
    const code = Number(ending["grpc-status"] ?? 2);
    const bytes = Buffer.concat(chunks);
    const said = decodeURIComponent(String(ending["grpc-message"] ?? ""));
    if (code === NOT_FOUND) reject(new DumpError("Gone", `the runtime has no such container: ${said}`));
    else if (code !== 0 || bytes.length < PREFIX) unsupported(new Error(`status ${code}: ${said}`));
    else resolve(bytes.subarray(PREFIX, PREFIX + bytes.readUInt32BE(1)));
  });
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([prefix, message]));
  try {
    return await promise;
  } finally {
    session.destroy();
  }
}

/** Before each message: whether it is compressed, and its length. */
const PREFIX = 5;
const NOT_FOUND = 5;
