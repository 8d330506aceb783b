import { readFileSync } from "node:fs";
import { copyFile, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CRIU_CONFIG, type HandlerNote } from "../store/copy.ts";
import { missing } from "../store/files.ts";
import { Layout } from "../store/layout.ts";
import { NOTE_VERSION } from "../store/notes.ts";
import { type Call, DEFAULT_RUNTIME_ROOT, globalValue } from "./args.ts";
import { nodeName } from "./attempt.ts";
import type { Conf } from "./conf.ts";
import { identityOf } from "./create.ts";
import { Notebook } from "./notebook.ts";
import { overlayAt } from "./overlay.ts";
import { HANDLER_NOTE_VERSION } from "./parts/note.ts";
import { type RuntimeSpec, readSpec } from "./parts/spec.ts";
import { captureVolumes } from "./parts/volumes-capture.ts";
import { criuErrors } from "./restore-log.ts";

/**
 * After the real `checkpoint`, with the container still paused by its caller: adds what the runtime leaves out,
 * into the directory of CRIU's images, which the container's engine packs into the archive as it is.
 */
export async function checkpoint(conf: Conf, call: Call): Promise<void> {
  const imagePath = call.flags.get("image-path");
  const [id] = call.words;
  if (imagePath === undefined || id === undefined || call.flags.has("pre-dump")) return;
  const { bundle, spec } = await containerOf(call, id);
  const overlay = overlayAt(resolve(bundle, spec.root.path));
  await keepOptions(conf, spec, imagePath);
  const { captured, left } = await captureVolumes({ spec, imagePath, maxBytes: conf.volumesMaxBytes });
  const note: HandlerNote = {
    version: HANDLER_NOTE_VERSION,
    node: nodeName(),
    lowerDirectories: overlay?.lower ?? [],
    captured,
    left,
  };
  await writeFile(join(imagePath, "kcr.json"), JSON.stringify(note), { mode: 0o600 });
}

/** With what kcr-runtime.c had it made, if with anything: whoever restores it needs that too. */
async function keepOptions(conf: Conf, spec: RuntimeSpec, imagePath: string): Promise<void> {
  const who = identityOf(spec);
  if (who === undefined) return;
  const to = join(imagePath, basename(CRIU_CONFIG));
  await copyFile(new Layout(conf.state).criuOptions(who), to).catch(missing);
}

/** After a real `checkpoint` that failed: leaves a note of what CRIU says, for its caller removes the log. */
export async function undumped(conf: Conf, call: Call): Promise<void> {
  const [id] = call.words;
  const directory = call.flags.get("work-path") ?? call.flags.get("image-path");
  if (directory === undefined || id === undefined) return;
  const errors = criuErrors(join(directory, "dump.log"));
  const who = identityOf((await containerOf(call, id)).spec);
  if (errors.length === 0 || who === undefined) return;
  new Notebook(new Layout(conf.state), who).noteUndumped({
    version: NOTE_VERSION,
    containerID: id,
    time: new Date().toISOString(),
    errors,
  });
}

async function containerOf(call: Call, id: string): Promise<{ bundle: string; spec: RuntimeSpec }> {
  const bundle = bundleOf(globalValue(call, "root") ?? DEFAULT_RUNTIME_ROOT, id);
  return { bundle, spec: await readSpec(join(bundle, "config.json")) };
}

/** runc's `state.json` says where a container's bundle is: in the labels of its configuration. */
function bundleOf(root: string, id: string): string {
  const { config } = JSON.parse(readFileSync(join(root, id, "state.json"), "utf8")) as {
    config?: { labels?: string[]; Labels?: string[] };
  };
  const labels = config?.labels ?? config?.Labels ?? [];
  const bundle = labels.find((label) => label.startsWith("bundle="))?.slice("bundle=".length);
  if (bundle === undefined) throw new Error(`${id} has no bundle`);
  return bundle;
}
