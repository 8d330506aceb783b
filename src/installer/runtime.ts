import { connect } from "node:net";
import { KcrError } from "../api/errors.ts";
import type { Node } from "../kube/resources.ts";
import {
  addHandlers,
  addressOf,
  findContainerd,
  originalRuntime,
  removeHandlers,
  rootOf,
} from "./containerd.ts";
import { crio } from "./crio.ts";
import { type Host, onHost } from "./host.ts";

/** The container runtime of a node, and what is done to it. */
export interface NodeRuntime {
  pid: number;
  /** Path of its program on the host. */
  program: string;
  /** Path of the OCI runtime that kcr's handler stands in front of. */
  original: string;
  containerdRoot: string | undefined;
  /** Its socket, as this process sees it. */
  address: string;
  /** Each calls `beforeChange` before it changes what the runtime reads when it starts. */
  addHandlers(beforeChange: () => Promise<void>, signal: AbortSignal): Promise<void>;
  removeHandlers(beforeChange: () => Promise<void>, signal: AbortSignal): Promise<void>;
}

/** Finds the runtime that runs now. Errors: KcrError where it is none that is understood. */
export async function nodeRuntime(host: Host, node: Node, signal: AbortSignal): Promise<NodeRuntime> {
  const version = node.status?.nodeInfo?.containerRuntimeVersion ?? "";
  if (version.startsWith("cri-o://")) return crio(host, signal);
  if (!version.startsWith("containerd://")) {
    throw new KcrError("RuntimeUnsupported", `the node's runtime is ${version || "not known"}`);
  }
  const containerd = await findContainerd(host, signal);
  return {
    pid: containerd.process.pid,
    program: containerd.process.program,
    original: await originalRuntime(host, containerd),
    containerdRoot: rootOf(containerd),
    address: onHost(host, addressOf(containerd)),
    addHandlers: (beforeChange, signal) => addHandlers(host, containerd, beforeChange, signal),
    removeHandlers: (beforeChange, signal) => removeHandlers(host, containerd, beforeChange, signal),
  };
}

/** Whether a runtime answers on its socket, which it opens when it has read its configuration. */
export function isServing(address: string): Promise<boolean> {
  const socket = connect(address);
  return new Promise<boolean>((resolve) => {
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
  }).finally(() => socket.destroy());
}
