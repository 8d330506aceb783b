import { watch } from "node:fs/promises";
import { join } from "node:path";
import { openRegistry } from "../../api/registry.ts";
import type { CaptureSource } from "../../api/request.ts";
import { isPushed, type Settings } from "../../api/settings.ts";
import { partOf } from "../../engine/dump.ts";
import type { Logger } from "../../kube/log.ts";
import { follow, orAborted } from "../../kube/signals.ts";
import type { Digest } from "../../oci/digest.ts";
import { GrowingFile } from "../../oci/growing-file.ts";
import { type Archives, isNamed } from "../archives.ts";
import type { Captured } from "../inspect.ts";
import type { Target } from "../kubelet.ts";

/** As many as pushes at once. */
const MOST = 2;
/** Uploads whose end nobody asked for; the oldest is forgotten. */
const MOST_KEPT = 64;

/** An archive that was sent ahead, or is still on its way. */
interface Sent {
  digest: Promise<Digest | undefined>;
  abort(reason: unknown): void;
}

/** Follows the archive of one dump. Disposed of before its end, it leaves nothing in the registry. */
export interface Following extends Disposable {
  /** The archive is whole, and is what was asked for. */
  end(captured: Captured): void;
}

export interface AheadOptions {
  archives: Archives;
  settings: Settings;
  log: Logger;
  signal: AbortSignal;
}

/**
 * Sends archives to the registry while they are still being written, for an image is wanted soon and the bytes are
 * in memory still. It is only ever a head start: the image's push looks whether the registry has the layer, and
 * sends it itself where this came to nothing.
 */
export class Ahead {
  readonly #options: AheadOptions;
  readonly #sent = new Map<string, Sent>();
  #active = 0;

  constructor(options: AheadOptions) {
    this.#options = options;
  }

  /** To be called before the dump begins; undefined where there is nothing to send, or enough is being sent. */
  follow(target: Target, { repository, lineage }: CaptureSource): Following | undefined {
    const { settings, log, signal } = this.#options;
    if (!isPushed(settings) || repository === undefined || this.#active >= MOST) return undefined;
    const limit = follow(signal);
    let file: GrowingFile | undefined;
    let isOver = false;
    // A reading waits for bytes that will not come, whatever becomes of the request that it is for.
    limit.signal.addEventListener("abort", () => file?.fail(limit.signal.reason), { once: true });
    const send = async (): Promise<Digest | undefined> => {
      const found = await this.#appears(target, partOf(lineage.containerID), limit.signal);
      await using growing = await GrowingFile.open(found);
      file = growing;
      await using registry = await openRegistry(settings, "kcr-agent", { attempts: 1 });
      limit.signal.throwIfAborted();
      const { digest } = await registry.uploadBlob({ repository, source: growing, signal: limit.signal });
      return digest;
    };
    this.#active += 1;
    const sent = send()
      .catch((err: unknown) => {
        if (!limit.signal.aborted) log.info({ ...target, err }, "an archive is not sent ahead");
        return undefined;
      })
      .finally(() => {
        this.#active -= 1;
        limit[Symbol.dispose]();
      });
    return {
      end: ({ name, path, sizeBytes }) => {
        const isIt =
          file !== undefined && (file.path === path || file.path === this.#part(lineage.containerID));
        if (!isIt) return;
        isOver = true;
        file?.end(sizeBytes);
        this.#keep(name, { digest: sent, abort: (reason) => limit.abort(reason) });
      },
      [Symbol.dispose]: () => {
        if (!isOver) limit.abort(new Error("there is no such archive"));
      },
    };
  }

  /**
   * The digest of an archive that is in the registry already, which is waited for if it is on its way. Errors: the
   * signal's reason; it is on its way no more then.
   */
  async take(name: string, signal?: AbortSignal): Promise<Digest | undefined> {
    const sent = this.#sent.get(name);
    if (sent === undefined) return undefined;
    try {
      return await orAborted(sent.digest, signal);
    } finally {
      this.drop(name);
    }
  }

  /** The archive is wanted no more: whoever sends it has let go of it soon. */
  drop(name: string): void {
    this.#sent.get(name)?.abort(new Error("the archive is wanted no more"));
    this.#sent.delete(name);
  }

  #keep(name: string, sent: Sent): void {
    this.#sent.set(name, sent);
    const [oldest] = this.#sent.keys();
    if (oldest !== undefined && this.#sent.size > MOST_KEPT) this.#sent.delete(oldest);
  }

  #part = (id: string): string => join(this.#options.archives.directory, partOf(id));

  /** The path under which an archive of the container comes to be. */
  async #appears(target: Target, part: string, signal: AbortSignal): Promise<string> {
    const { directory } = this.#options.archives;
    for await (const { filename } of watch(directory, { signal })) {
      if (filename !== null && (filename === part || isNamed(filename, target)))
        return join(directory, filename);
    }
    throw signal.reason;
  }
}
