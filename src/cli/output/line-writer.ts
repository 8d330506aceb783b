import { type Io, write } from "../io.ts";

const FULL_CHARACTERS = 64 * 1024;

/** Gathers many short texts for stdout, so that not each is a write of its own. */
export class LineWriter {
  readonly #io: Pick<Io, "stdout" | "signal">;
  #texts: string[] = [];
  #length = 0;

  constructor(io: Pick<Io, "stdout" | "signal">) {
    this.#io = io;
  }

  /** Whether it is time to `flush`. */
  get isFull(): boolean {
    return this.#length >= FULL_CHARACTERS;
  }

  text(text: string): void {
    this.#texts.push(text);
    this.#length += text.length;
  }

  /** Writes what was gathered, and waits where the reader is slower. */
  async flush(): Promise<void> {
    const text = this.#texts.join("");
    this.#texts = [];
    this.#length = 0;
    await write(this.#io.stdout, text, this.#io.signal);
  }
}
