import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** What happens to bytes on their way: passed on (changed or not), or the connection is cut without a farewell. */
export type Meddle = (chunk: Buffer, connection: { up: number; down: number }) => Buffer | "cut";

export interface TcpProxy {
  readonly address: string;
  readonly port: number;
  /** From the client to the server; undefined: pass on. `up` counts the bytes of the connection before this chunk. */
  onUp: Meddle | undefined;
  onDown: Meddle | undefined;
  /** How many connections it has cut. */
  cuts: number;
  stop(): Promise<void>;
}

/** A bad network between a client and a server on loopback. */
export async function startTcpProxy(serverPort: number): Promise<TcpProxy> {
  const open = new Set<Socket>();
  const proxy: TcpProxy = {
    address: "",
    port: 0,
    onUp: undefined,
    onDown: undefined,
    cuts: 0,
    async stop() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  const server = createServer((client) => {
    const upstream = connect(serverPort, "127.0.0.1");
    const counts = { up: 0, down: 0 };
    const end = () => {
      client.resetAndDestroy();
      upstream.destroy();
      open.delete(client);
    };
    open.add(client);
    const pass = (from: Socket, to: Socket, direction: "up" | "down") => {
      from.on("data", (chunk: Buffer) => {
        const meddle = direction === "up" ? proxy.onUp : proxy.onDown;
        const passed = meddle ? meddle(chunk, counts) : chunk;
        counts[direction] += chunk.length;
        if (passed === "cut") {
          proxy.cuts += 1;
          end();
        } else if (!to.write(passed)) {
          from.pause();
          to.once("drain", () => from.resume());
        }
      });
      from.on("end", () => to.end());
      from.on("error", end);
    };
    pass(client, upstream, "up");
    pass(upstream, client, "down");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return Object.assign(proxy, { port, address: `127.0.0.1:${port}` });
}
