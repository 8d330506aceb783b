import type { Io } from "../io.ts";
import { humanDuration } from "./age.ts";
import { safe } from "./safe.ts";
import { size } from "./sizes.ts";
import { displayWidth } from "./width.ts";

/** How far something has come. */
export interface State {
  /** What is being done now; shown as it is told, made safe here. */
  text?: string;
  /** Bytes done, and in all if that is known: with both there is a bar. */
  done?: number;
  total?: number;
}

/** Shows on stderr that something is going on. Disposing it takes what is shown away. */
export interface Progress extends Disposable {
  update(state: State): void;
  /** A line that stays, above what is shown. */
  note(text: string): void;
}

/** What is done sooner than this is not worth showing. */
const QUIET_MS = 2_000;
const FRAME_MS = 100;
const PLAIN_MS = 10_000;
const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const BAR = 24;
/** Room for the terminal's own `^C`, which would otherwise begin another line. */
const MARGIN = 3;

export interface ProgressOptions {
  quietMs?: number;
  /** Milliseconds of a clock that does not jump. */
  now?: () => number;
}

/**
 * On a terminal one line that is kept up to date, with a bar where the end is known; elsewhere (a log, a pipe) a
 * line every ten seconds, or when `text` changes. Nothing for what takes less than two seconds.
 */
export function startProgress(io: Io, title: string, options: ProgressOptions = {}): Progress {
  const { quietMs = QUIET_MS, now = () => performance.now() } = options;
  const terminal = io.terminal.err;
  const started = now();
  let state: State = {};
  let frame = 0;
  let shown = false;
  let plain: { at: number; text: string | undefined } | undefined;

  const clear = () => {
    if (shown) io.stderr.write("\r\x1b[2K");
    shown = false;
  };
  const draw = () => {
    const elapsed = now() - started;
    if (elapsed < quietMs) return;
    const line = describe(title, state, elapsed);
    if (terminal) {
      const mark = FRAMES[frame++ % FRAMES.length];
      io.stderr.write(`\r\x1b[2K${cut(`${mark} ${line}`, (io.columns ?? 80) - MARGIN)}`);
      shown = true;
    } else if (plain === undefined || plain.text !== state.text || now() - plain.at >= PLAIN_MS) {
      plain = { at: now(), text: state.text };
      io.stderr.write(`${line}\n`);
    }
  };
  const timer = setInterval(draw, terminal ? FRAME_MS : 500).unref();
  return {
    update(next) {
      state = next;
    },
    note(text) {
      clear();
      io.stderr.write(`${safe(text)}\n`);
    },
    [Symbol.dispose]() {
      clearInterval(timer);
      clear();
    },
  };
}

/** `downloading  [########----------------]  33% of 1.1 GiB  98 MiB/s  8s left` */
export function describe(title: string, { text, done, total }: State, elapsedMs: number): string {
  const parts = [safe(text === undefined ? title : `${title}: ${text}`)];
  if (done !== undefined && total !== undefined && total > 0) {
    const share = Math.min(1, done / total);
    const filled = Math.floor(share * BAR);
    parts.push(`[${"#".repeat(filled)}${"-".repeat(BAR - filled)}]`);
    parts.push(`${String(Math.floor(share * 100)).padStart(3)}% of ${size(total)}`);
  } else if (done !== undefined) {
    parts.push(size(done));
  }
  if (done === undefined || done === 0 || elapsedMs < 1000)
    return `${parts.join("  ")}  ${elapsed(elapsedMs)}`;
  const perSecond = done / (elapsedMs / 1000);
  parts.push(`${size(perSecond)}/s`);
  if (total !== undefined && total > done) parts.push(`${elapsed(((total - done) / perSecond) * 1000)} left`);
  return parts.join("  ");
}

const elapsed = (ms: number): string => humanDuration(Math.max(0, ms));

function cut(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = "";
  for (const mark of text) {
    if (displayWidth(kept + mark) > width - 1) break;
    kept += mark;
  }
  return `${kept}…`;
}
