import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { type CallOptions, type Client, objectPath } from "./client.ts";
import { type ObjectName, pods } from "./resources.ts";
import { encodeFrame, FrameReader, OPCODE, type Piece, WebSocketError } from "./websocket.ts";

/** The subprotocol: each message is a channel's number and bytes of it. Source: k8s.io/kubelet, pkg/cri/streaming. */
const PROTOCOL = "v4.channel.k8s.io";
/** Of the one port that is forwarded. Each begins with the port, two bytes, from the server. */
const DATA = 0;
const ERROR = 1;
const PORT_BYTES = 2;
/** Longest text of an error that is kept. */
const ERROR_BYTES = 4096;

/**
 * A connection to a port of a pod, on its loopback, through API server and kubelet: what `kubectl port-forward` does for
 * each connection. Needs the verbs get and, from Kubernetes 1.35 on, create on `pods/portforward`.
 *
 * Guarantees: nothing is read from the server faster than it is read from here.
 * Errors: those of {@link Client}; once open, the stream ends with a WebSocketError that says why, also where nobody
 * listens on the port.
 */
export async function forwardPort(
  client: Client,
  pod: ObjectName,
  port: number,
  options: CallOptions = {},
): Promise<Duplex> {
  const path = objectPath(pods, pod, "portforward");
  const { socket, head } = await client.upgrade(path, PROTOCOL, { ...options, query: { ports: port } });
  return new Forwarded(socket, head);
}

class Forwarded extends Duplex {
  readonly #socket: Socket;
  readonly #frames = new FrameReader();
  /** Bytes of the port that are still to come, by channel. */
  readonly #before = [PORT_BYTES, PORT_BYTES];
  #channel = DATA;
  #error = "";

  constructor(socket: Socket, head: Buffer) {
    // Who closes one side closes both: a WebSocket has no half-open state.
    super({ allowHalfOpen: false });
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.#end());
    socket.setNoDelay(true);
    if (head.length > 0) this.#take(head);
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#socket.write(encodeFrame(OPCODE.binary, Buffer.concat([Buffer.of(DATA), chunk])), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(encodeFrame(OPCODE.close, Buffer.alloc(0)), () => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  // An HTTP agent treats it as the socket that it stands for.
  setKeepAlive(...given: Parameters<Socket["setKeepAlive"]>): this {
    this.#socket.setKeepAlive(...given);
    return this;
  }
  setNoDelay(...given: Parameters<Socket["setNoDelay"]>): this {
    this.#socket.setNoDelay(...given);
    return this;
  }
  setTimeout(...given: Parameters<Socket["setTimeout"]>): this {
    this.#socket.setTimeout(...given);
    return this;
  }
  ref(): this {
    this.#socket.ref();
    return this;
  }
  unref(): this {
    this.#socket.unref();
    return this;
  }

  #take(chunk: Buffer): void {
    try {
      for (const piece of this.#frames.read(chunk)) this.#piece(piece);
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #piece(piece: Piece): void {
    switch (piece.type) {
      case "data":
        this.#data(piece.first, piece.bytes);
        return;
      case "ping":
        this.#socket.write(encodeFrame(OPCODE.pong, piece.bytes));
        return;
      case "pong":
        return;
      case "close":
        this.#end();
        return;
      default:
        piece satisfies never;
    }
  }

  #data(first: boolean, given: Buffer): void {
    let bytes = given;
    if (first) {
      this.#channel = bytes[0]!;
      bytes = bytes.subarray(1);
    }
    const channel = this.#channel;
    if (channel !== DATA && channel !== ERROR) throw new WebSocketError(`bytes of channel ${channel}`);
    const port = Math.min(this.#before[channel]!, bytes.length);
    this.#before[channel]! -= port;
    bytes = bytes.subarray(port);
    if (bytes.length === 0) return;
    if (channel === ERROR) this.#error = `${this.#error}${bytes}`.slice(0, ERROR_BYTES);
    else if (!this.push(bytes)) this.#socket.pause();
  }

  #end(): void {
    if (this.destroyed || this.readableEnded) return;
    if (this.#error !== "")
      this.destroy(new WebSocketError(`the port is not forwarded: ${this.#error.trim()}`));
    else this.push(null);
  }
}
