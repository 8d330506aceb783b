import { connect, createServer, type Server, type Socket } from "node:net";

/** A relay in front of a server that can be told to fail. It sees bytes only, TLS stays end to end. */
export interface Relay extends AsyncDisposable {
  readonly port: number;
  /** Connections that have been made through it so far. */
  readonly connections: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Resets all connections. */
  cut(): void;
  /** Resets each connection that is open now as soon as so many more bytes have come from the server through it. */
  cutAfter(bytes: number): void;
  /** Forwards nothing any more, in no direction, over the connections open now, and closes none. */
  stall(): void;
  /** Refuses new connections (and resets the open ones), or takes them again. */
  refuse(on: boolean): void;
}

interface Pair {
  client: Socket;
  server: Socket;
  bytesLeft: number;
  stalled: boolean;
}

export async function startRelay(target: { host: string; port: number }): Promise<Relay> {
  const pairs = new Set<Pair>();
  let connections = 0;
  let refusing = false;
  const proxy: Server = createServer({ noDelay: true }, (client) => {
    if (refusing) {
      client.resetAndDestroy();
      return;
    }
    connections++;
    const server = connect({ ...target, noDelay: true });
    const pair: Pair = { client, server, bytesLeft: Number.POSITIVE_INFINITY, stalled: false };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.resetAndDestroy();
      server.resetAndDestroy();
    };
    client.on("data", (data: Buffer) => {
      if (!pair.stalled) server.write(data);
    });
    server.on("data", (data: Buffer) => {
      if (pair.stalled) return;
      const forwarded = data.subarray(0, Math.min(data.length, pair.bytesLeft));
      pair.bytesLeft -= forwarded.length;
      if (pair.bytesLeft > 0) client.write(forwarded);
      else client.write(forwarded, end);
    });
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => proxy.once("listening", resolve));
  const cut = () => {
    for (const { client, server } of pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  };
  return {
    port: (proxy.address() as { port: number }).port,
    get connections() {
      return connections;
    },
    get open() {
      return pairs.size;
    },
    cut,
    cutAfter: (bytes) => {
      for (const pair of pairs) pair.bytesLeft = bytes;
    },
    stall: () => {
      for (const pair of pairs) pair.stalled = true;
    },
    refuse: (on) => {
      refusing = on;
      if (on) cut();
    },
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
