import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { HandlerNote } from "../store/copy.ts";
import { type Call, DEFAULT_RUNTIME_ROOT, globalValue } from "./args.ts";
import { nodeName } from "./attempt.ts";
import type { Conf } from "./conf.ts";
import { overlayAt } from "./overlay.ts";
import { readSpec } from "./parts/spec.ts";
import { captureVolumes } from "./parts/volumes-capture.ts";

/**
 * After the real `checkpoint`, with the container still paused by its caller: adds what the runtime leaves out,
 * into the directory of CRIU's images, which the container's engine packs into the archive as it is.
 */
export async function checkpoint(conf: Conf, call: Call): Promise<void> {
  const imagePath = call.flags.get("image-path");
  const [id] = call.words;
  if (imagePath === undefined || id === undefined || call.flags.has("pre-dump")) return;
  const bundle = bundleOf(globalValue(call, "root") ?? DEFAULT_RUNTIME_ROOT, id);
  const spec = await readSpec(join(bundle, "config.json"));
  const overlay = overlayAt(resolve(bundle, spec.root.path));
  const { captured, left } = await captureVolumes({ spec, imagePath, maxBytes: conf.volumesMaxBytes });
  const note: HandlerNote = {
    version: 1,
    node: nodeName(),
    lowerDirectories: overlay?.lower ?? [],
    captured,
    left,
  };
  await writeFile(join(imagePath, "kcr.json"), JSON.stringify(note), { mode: 0o600 });
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
