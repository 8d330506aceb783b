/** Tells a waiting person what is going on. */
export interface Progress {
  /**
   * Runs `work` under a title. Work that takes longer than two seconds is shown while it runs, with the time
   * it has taken and the latest `detail`; then its end is shown too.
   */
  task<T>(title: string, work: (detail: (text: string) => void) => Promise<T>): Promise<T>;
  /** One line of its own. */
  note(text: string): void;
}

/** Says nothing. */
export const silent: Progress = { task: (_title, work) => work(() => {}), note: () => {} };

const QUIET_MS = 2_000;
const PLAIN_INTERVAL_MS = 10_000;
const TERMINAL_INTERVAL_MS = 250;

interface Running {
  title: string;
  detail: string;
  since: number;
  shownAt: number;
}

/**
 * Progress for people: on a terminal one line that is kept up to date, elsewhere (a log, a pipe) a line per
 * task every ten seconds.
 */
export function progressTo(stream: NodeJS.WriteStream = process.stderr): Progress {
  const running = new Set<Running>();
  const terminal = stream.isTTY === true;
  let timer: NodeJS.Timeout | undefined;

  const describe = (task: Running) => {
    const seconds = Math.round((Date.now() - task.since) / 1000);
    return `${task.title} (${seconds} s)${task.detail ? `: ${task.detail}` : ""}`;
  };
  const clear = () => terminal && stream.write("\r\x1b[2K");
  const line = (text: string) => {
    clear();
    stream.write(`${text}\n`);
  };
  const tick = () => {
    const now = Date.now();
    const slow = [...running].filter((task) => now - task.since >= QUIET_MS);
    if (terminal) {
      const text = slow.map(describe).join(" | ");
      stream.write(`\r\x1b[2K${text.slice(0, (stream.columns ?? 80) - 1)}`);
      return;
    }
    for (const task of slow) {
      if (now - task.shownAt < PLAIN_INTERVAL_MS && task.shownAt !== 0) continue;
      task.shownAt = now;
      line(`... ${describe(task)}`);
    }
  };

  return {
    note: line,
    async task(title, work) {
      const task: Running = { title, detail: "", since: Date.now(), shownAt: 0 };
      running.add(task);
      timer ??= setInterval(tick, TERMINAL_INTERVAL_MS).unref();
      let ended = "failed";
      try {
        const result = await work((text) => {
          task.detail = text;
        });
        ended = "done";
        return result;
      } finally {
        running.delete(task);
        task.detail = "";
        if (Date.now() - task.since >= QUIET_MS) line(`${ended}: ${describe(task)}`);
        if (running.size === 0) {
          clearInterval(timer);
          timer = undefined;
          clear();
        }
      }
    },
  };
}
