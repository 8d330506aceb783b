import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { makeNamespace } from "../../test/support/namespace.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { settings } from "../api/settings.ts";
import { Client } from "../kube/client.ts";
import { EventRecorder } from "../kube/events.ts";
import { silent } from "../kube/log.ts";
import { leases, nodes } from "../kube/resources.ts";
import type { Context } from "./context.ts";
import { HANDLERS } from "./handlers.ts";
import { oweRestart } from "./restart.ts";
import { isServing, type NodeRuntime } from "./runtime.ts";
import { bringIntoForce } from "./turn.ts";

const kubeconfig = inject("kubeconfig");

/** A container runtime as far as a restart goes: it answers on a socket, and is started again when it ends. */
class StandIn {
  readonly address: string;
  starts = 0;
  #child: ChildProcess | undefined;
  #stopped = false;

  constructor(address: string) {
    this.address = address;
    this.#start();
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  #start(): void {
    const code = `const { rmSync } = require("fs"); const at = process.argv[1]; rmSync(at, { force: true }); require("net").createServer().listen(at)`;
    this.#child = spawn(process.execPath, ["-e", code, this.address]);
    this.starts++;
    this.#child.once("exit", () => {
      if (!this.#stopped) this.#start();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const ended = once(this.#child!, "exit");
    this.#child!.kill("SIGKILL");
    await ended;
  }
}

describe.skipIf(kubeconfig === undefined)("the restart of container runtimes", () => {
  let client: Client;
  let namespace: string;
  let work: string;
  let recorder: EventRecorder;
  const all: StandIn[] = [];
  const nothing = new AbortController().signal;
  beforeAll(async () => {
    client = Client.fromConfig({ kubeconfig });
    namespace = await makeNamespace(client, "installer");
    work = await mkdtemp(join(tmpdir(), "kcr-turn-"));
    recorder = new EventRecorder({ client, controller: "kcr-installer", instance: "test", log: silent });
  });
  afterAll(async () => {
    await Promise.all(all.map((one) => one.stop()));
    await recorder.close();
    client.close();
    await rm(work, { recursive: true, force: true });
  });

  /** A node whose runtime runs and has not read what was changed. */
  async function node(name: string) {
    await client.create(nodes, { metadata: { name } });
    await shows(name, []);
    const runtime = new StandIn(join(work, `${name}.sock`));
    all.push(runtime);
    await waitFor(`${name}'s runtime`, () => isServing(runtime.address));
    const context: Context = {
      client,
      node: name,
      host: { root: join(work, name), enterHost: "/nowhere" },
      runtimeFiles: "/nowhere",
      settings: settings.parse({ store: "node", installer: { restart: "signal" } }),
      pod: { apiVersion: "v1", kind: "Pod", name, namespace, uid: name },
      recorder,
      log: silent,
    };
    const { pid, address } = runtime;
    const asFound = { pid, address } as NodeRuntime;
    return { context, runtime, asFound };
  }

  /** What the node's kubelet says of it. */
  async function shows(name: string, handlers: readonly string[]): Promise<void> {
    const status = {
      runtimeHandlers: handlers.map((name) => ({ name })),
      conditions: [{ type: "Ready", status: "True" }],
    };
    await client.patch(nodes, { name }, { type: "merge", body: { status } }, { subresource: "status" });
  }
  const holder = async () =>
    (await client.get(leases, { namespace, name: "kcr-installer" })).spec?.holderIdentity?.split("_")[0];

  it("is one node's turn until that is back with the handlers, and then another's", async () => {
    const both = new Map([
      ["turn-1", await node("turn-1")],
      ["turn-2", await node("turn-2")],
    ]);
    const finished: string[] = [];
    const work = [...both].map(async ([name, { context, runtime, asFound }]) => {
      await oweRestart(context.host, runtime.pid);
      expect(await bringIntoForce(context, asFound, "shown", nothing)).toBe(true);
      finished.push(name);
    });
    const first = await waitFor("a first turn", holder);
    const second = first === "turn-1" ? "turn-2" : "turn-1";
    await waitFor(`${first} to be restarted`, () => both.get(first)!.runtime.starts === 2);
    expect(both.get(second)!.runtime.starts).toBe(1);
    await shows(first, HANDLERS.slice(0, 1));
    await waitFor("its runtime to answer", () => isServing(both.get(first)!.runtime.address));
    expect([finished, both.get(second)!.runtime.starts]).toEqual([[], 1]);

    await shows(first, HANDLERS);
    await waitFor(`${second} to be restarted`, () => both.get(second)!.runtime.starts === 2);
    expect(finished).toEqual([first]);
    await shows(second, HANDLERS);
    await Promise.all(work);
    expect([...both.values()].map(({ runtime }) => runtime.starts)).toEqual([2, 2]);
  });

  it("is not done where the node shows the handlers and nothing was changed", async () => {
    const { context, runtime, asFound } = await node("done");
    await shows("done", HANDLERS);
    expect(await bringIntoForce(context, asFound, "shown", nothing)).toBe(false);
    expect(runtime.starts).toBe(1);
  });
});
