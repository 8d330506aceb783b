import { appendFileSync, readFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Dispatcher } from "undici";
import { Client } from "../../src/kube/client.ts";
import { delay } from "../../src/kube/signals.ts";

/*
 * Loaded into an operator or an agent before anything else (`node --import`), it kills the process with SIGKILL right
 * before, and at another time right after, each kind of write that the process makes: to the API server, to the
 * registry, to the kubelet, to names in the node's directories. Every one once over all processes that share a journal.
 *
 * A point is named by who writes and what: `restore/controller writePod: patch pods image`.
 */

/** A file with a line for each moment at which a process was killed already: `before <point>`, `after <point>`. */
const journal = process.env["KCR_CRASH_JOURNAL"] ?? "";
/** The directory below which files count. */
const root = process.env["KCR_CRASH_ROOT"] ?? "";
const sources = fileURLToPath(new URL("../../src/", import.meta.url));

const over = new Set(readFileSync(journal, "utf8").split("\n"));
Error.stackTraceLimit = 50;

/** How long a write waits for the one before it, in milliseconds: a dump may last. */
const TURN_MS = 2_000;
let turn: Promise<unknown> = Promise.resolve();

/**
 * Does what is to be done, and is killed before it the first time, after it the second. One after another: of two
 * writes at once the end of one would take away that of the other, and what is written once has but one.
 */
async function mortally<T>(point: string, act: () => Promise<T>): Promise<T> {
  if (over.has(`before ${point}`) && over.has(`after ${point}`)) return await act();
  const done = turn.then(async () => {
    await dieOnce(`before ${point}`);
    const result = await act();
    await dieOnce(`after ${point}`);
    return result;
  });
  turn = turn.then(() => Promise.race([done.catch(() => {}), delay(TURN_MS)]));
  return await done;
}

async function dieOnce(moment: string): Promise<void> {
  if (over.has(moment)) return;
  over.add(moment);
  appendFileSync(journal, `${moment}\n`);
  process.kill(process.pid, "SIGKILL");
  await new Promise(() => {});
}

const FRAME = /at (?:async )?(?:(.+) \()?(?:file:\/\/)?(\/[^():]+):\d+:\d+\)?$/;

/** The function that writes, by the stack: of a program's own, else of a library's. */
function whoWrites(): string {
  const frames = (new Error().stack ?? "").split("\n").flatMap((line) => {
    const [, named = "", path = ""] = FRAME.exec(line.trim()) ?? [];
    if (!path.startsWith(sources)) return [];
    const file = path.slice(sources.length).replace(/\.ts$/, "");
    return [{ file, name: named.replace(/^new /, "").split(".").at(-1) ?? "" }];
  });
  const isOwn = ({ file }: { file: string }) => /^(operator|agent)\//.test(file);
  const isMade = ({ file }: { file: string }) => !/^kube\/(client|write|apply|transport)$/.test(file);
  const found = frames.find((one) => isOwn(one) && one.name !== "") ?? frames.find(isMade);
  return found === undefined ? "unknown" : `${found.file} ${found.name}`;
}

const request = Client.prototype.request;
Client.prototype.request = function <T>(this: Client, ...args: Parameters<Client["request"]>): Promise<T> {
  const [method, path, options] = args;
  const act = () => request.call<Client, typeof args, Promise<T>>(this, ...args);
  return method === "GET" ? act() : mortally(`${whoWrites()}: ${writeTo(method, path, options?.body)}`, act);
};

const VERBS: Record<string, string> = { POST: "create", PUT: "replace", PATCH: "patch", DELETE: "delete" };

/** `patch checkpoints/status Processing`. */
function writeTo(method: string, path: string, body: unknown): string {
  const parts = path
    .replace(/\?.*/, "")
    .split("/")
    .slice(path.startsWith("/api/") ? 3 : 4);
  const isNamespaced = parts[0] === "namespaces" && parts.length > 2;
  const [plural = "", , subresource] = isNamespaced ? parts.slice(2) : parts;
  const what = subresource === undefined ? plural : `${plural}/${subresource}`;
  return `${VERBS[method]} ${what} ${method === "PATCH" ? changeOf(body) : ""}`.trim();
}

interface Change {
  metadata?: { finalizers?: string[] };
  status?: { phase?: string; lastRunTime?: string | null };
}

/** What tells one step of the chain from another that the same function takes. */
function changeOf(body: unknown): string {
  if (Array.isArray(body)) return body.some(({ path }) => path.endsWith("/image")) ? "image" : "";
  const { metadata, status } = body as Change;
  if (metadata?.finalizers !== undefined) return `finalizers: ${metadata.finalizers.length} left`;
  return status?.phase ?? (status?.lastRunTime ? "slot" : "");
}

const dispatch = Dispatcher.prototype.request as (options: Dispatcher.RequestOptions) => Promise<unknown>;
Dispatcher.prototype.request = function (this: Dispatcher, options: Dispatcher.RequestOptions) {
  const { method, path } = options;
  const act = () => dispatch.call(this, options);
  if (method === "GET" || method === "HEAD") return act();
  const what = path
    .replace(/\?.*/, "")
    .replace(/^\/v2\/.*\/(blobs\/uploads|manifests)\/.*$/, "registry $1")
    .replace(/^\/checkpoint\/.*$/, "kubelet checkpoint");
  return mortally(`${whoWrites()}: ${method} ${what}`, act);
} as typeof Dispatcher.prototype.request;

/** `store/copies/*`: names that are different each time do not tell. */
const shape = (path: unknown): string =>
  relative(root, String(path))
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}/g, "*")
    .replace(/checkpoint-[^/]*\.tar/, "*.tar")
    .replace(/notes\/.*$/, "notes/*")
    .replace(/(store\/(?:tmp|copies)\/\*)\/.*$/, "$1/**");

const { access } = fs;
const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

type Operation = (...args: never[]) => Promise<unknown>;
const files = fs as unknown as Record<string, Operation>;

for (const name of ["link", "rename", "rm", "unlink", "symlink", "writeFile", "open"]) {
  const operation = files[name] as (...args: unknown[]) => Promise<unknown>;
  files[name] = (async (...args: unknown[]) => {
    const act = () => operation(...args);
    const isRead = name === "open" && !/[wax+]/.test(String(args[1] ?? "r"));
    const target = name === "link" || name === "rename" ? args[1] : args[0];
    if (isRead || !String(target).startsWith(root)) return await act();
    // What is not there is not removed.
    if (name === "rm" && !(await isThere(String(target)))) return await act();
    const from = name === "link" || name === "rename" ? `${shape(args[0])} -> ` : "";
    return await mortally(`${whoWrites()}: ${name} ${from}${shape(target)}`, act);
  }) as Operation;
}
syncBuiltinESMExports();
