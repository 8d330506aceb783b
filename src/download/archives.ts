import type { Checkpoint } from "../api/checkpoint.ts";
import { KcrError } from "../api/errors.ts";
import type { Logger } from "../kube/log.ts";
import { hasCode } from "../oci/errors.ts";
import { TransferError } from "../transfer/errors.ts";
import type { Archive } from "./archive.ts";

/** One place that a Checkpoint's archive may be read from. */
export interface Place {
  name: string;
  open(signal: AbortSignal): Promise<Archive>;
}

export interface ArchivesOptions {
  /** Where a Checkpoint's archive may be, the best place first. */
  places(checkpoint: Checkpoint): readonly Place[];
  log: Logger;
  now(): number;
}

/** Whether another try may open what could not be opened now. */
export const isPassing = (error: unknown): boolean =>
  error instanceof TransferError
    ? error.code === "unreachable" || error.code === "busy"
    : hasCode(error, "unreachable");

/** So long an archive that nobody reads stays open, and a place that failed comes last; in milliseconds. */
const IDLE_MS = 60_000;
/** Archives that are open at once. */
const OPEN = 16;

interface Opened {
  place: string;
  archive: Archive;
  readers: number;
  used: number;
}

/**
 * Archives that are being read: whoever reads one in pieces finds it open.
 *
 * Guarantees: nothing of an archive's content is kept. A place that failed is not the first to be asked again for a
 * minute.
 */
export class Archives implements AsyncDisposable {
  readonly #options: ArchivesOptions;
  readonly #opened = new Map<string, Opened>();
  /** When a place failed, by archive and place. */
  readonly #failed = new Map<string, number>();

  constructor(options: ArchivesOptions) {
    this.#options = options;
  }

  /**
   * Has `use` read the archive of a Checkpoint. Where it fails the archive is opened anew for the next, elsewhere if
   * it is elsewhere too.
   *
   * Errors: KcrError ArchiveNowhere where no place gives it, with one of their errors as its cause: of a place that may
   * give it later, if there is one (`isPassing`); those of `use`; the signal's reason.
   */
  async with<T>(
    checkpoint: Checkpoint,
    signal: AbortSignal,
    use: (archive: Archive) => Promise<T>,
  ): Promise<T> {
    const key = `${checkpoint.metadata.uid} ${checkpoint.status?.digest}`;
    await this.#closeIdle();
    const opened = this.#opened.get(key) ?? (await this.#open(key, checkpoint, signal));
    opened.readers += 1;
    try {
      return await use(opened.archive);
    } catch (error) {
      if (!signal.aborted) {
        this.#failed.set(`${key} ${opened.place}`, this.#options.now());
        if (this.#opened.get(key) === opened) this.#opened.delete(key);
      }
      throw error;
    } finally {
      opened.readers -= 1;
      opened.used = this.#options.now();
      if (opened.readers === 0 && this.#opened.get(key) !== opened)
        await opened.archive[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#opened.values()];
    this.#opened.clear();
    await Promise.all(all.map(({ archive }) => archive[Symbol.asyncDispose]()));
  }

  async #open(key: string, checkpoint: Checkpoint, signal: AbortSignal): Promise<Opened> {
    const { places, log, now } = this.#options;
    const { name } = checkpoint.metadata;
    const hasFailed = (place: Place): number => (this.#failed.has(`${key} ${place.name}`) ? 1 : 0);
    let cause: unknown;
    for (const place of places(checkpoint).toSorted((a, b) => hasFailed(a) - hasFailed(b))) {
      try {
        const archive = await place.open(signal);
        const opened = { place: place.name, archive, readers: 0, used: now() };
        const other = this.#opened.get(key);
        this.#opened.set(key, opened);
        if (other?.readers === 0) await other.archive[Symbol.asyncDispose]();
        return opened;
      } catch (error) {
        signal.throwIfAborted();
        log.warn({ checkpoint: name, place: place.name, err: error }, "an archive could not be opened there");
        if (!isPassing(cause)) cause = error;
      }
    }
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    throw new KcrError("ArchiveNowhere", `the archive of Checkpoint ${name} cannot be had anywhere${why}`, {
      cause,
    });
  }

  async #closeIdle(): Promise<void> {
    const since = this.#options.now() - IDLE_MS;
    for (const [place, time] of this.#failed) if (time <= since) this.#failed.delete(place);
    const idle = [...this.#opened].filter(([, { readers }]) => readers === 0);
    const oldest = idle.sort(([, a], [, b]) => a.used - b.used);
    const tooMany = this.#opened.size - OPEN;
    for (const [n, [key, { archive, used }]] of oldest.entries()) {
      if (used > since && n >= tooMany) continue;
      this.#opened.delete(key);
      await archive[Symbol.asyncDispose]();
    }
  }
}
