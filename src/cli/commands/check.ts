import type { Command } from "commander";
import type { Finding, Verdict } from "../check/facts.ts";
import { clusterFlagsOf, connect } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import { EXIT } from "../exit.ts";
import { type Io, print } from "../io.ts";
import { painter, type Tone } from "../output/colour.ts";
import { type Format, outputOption, show } from "../output/print.ts";
import { safe } from "../output/safe.ts";
import { wrap } from "../output/wrap.ts";
import { examples } from "./examples.ts";

const SHOWN: Record<Verdict, [word: string, tone: Tone]> = {
  no: ["no", "bad"],
  warning: ["warning", "warn"],
  unknown: ["not known", "dim"],
  ok: ["ok", "good"],
};
const WORD = 9;
const TOPIC = 14;

export function registerCheck(program: Command, io: Io): void {
  const command = program
    .command("check")
    .description("whether a pod can be checkpointed and restored, and why not, before anything is frozen")
    .argument("<target>", "pod/NAME, or deploy/NAME, sts/NAME, ds/NAME, job/NAME for all its pods")
    .option(
      "-c, --container <name>",
      "which container (default: those that are protected, else the default one)",
    )
    .addOption(outputOption(["table", "json", "yaml"]))
    .addHelpText(
      "after",
      `
It changes nothing, and says of what it could not find out that it is not known.
Exit code 3: the answer is no.
${examples([
  ["kcr check deploy/shop", "look at each pod of a Deployment"],
  ["kcr check pod/redis-0 -c redis -o json", "one container, for a script"],
])}`,
    )
    .action(async (target: string, flags: { container?: string; output: Format }, command: Command) => {
      const { check } = await import("../check/check.ts");
      const connection = await connect(clusterFlagsOf(command));
      try {
        const reports = await check(connection, target, { ...flags, program: io.program }, io.signal);
        if (reports.some(({ verdict }) => verdict === "no")) io.exitCode = EXIT.no;
        if (flags.output !== "table") {
          await show(io, flags.output, {
            columns: [],
            rows: [],
            data: reports.length === 1 ? reports[0] : reports,
          });
          return;
        }
        for (const { pod, node, container, verdict, findings } of reports) {
          const where = node === undefined ? "" : ` on ${node}`;
          await print(
            io,
            safe(`pod/${pod}, container ${container}${where}`),
            ...findings.flatMap(lines),
            answer(verdict),
            "",
          );
        }
      } finally {
        connection.client.close();
      }
    });
  completes(command, { args: [["pod", "workload"]], options: { container: "container" } });

  const paint = painter(io);

  function lines({ topic, verdict, message, todo, code }: Finding): string[] {
    const [word, tone] = SHOWN[verdict];
    const head = `  ${paint(tone, word.padEnd(WORD))}  ${topic.padEnd(TOPIC)}  `;
    const indent = " ".repeat(WORD + TOPIC + 6);
    // A script reads lines, a person a column.
    const width = io.terminal.out && io.columns ? Math.max(40, io.columns - indent.length) : undefined;
    const [first = "", ...more] = wrap(
      safe(`${message}${code === undefined || verdict === "ok" ? "" : ` (${code})`}`),
      width,
    );
    return [
      `${head}${first}`,
      ...more.map((line) => `${indent}${line}`),
      ...(todo === undefined
        ? []
        : wrap(safe(todo), isCommand(todo) ? undefined : width).map((line) =>
            paint("dim", `${indent}${line}`),
          )),
    ];
  }

  /** Which can be copied only while it is in one piece. */
  const isCommand = (text: string) => text.includes("kubectl ") || text.includes(`${io.program} `);

  function answer(verdict: Verdict): string {
    const words: Record<Verdict, string> = {
      no: "No: see above what stands in the way.",
      warning: "Yes, but for what the warnings say.",
      unknown: "Yes, as far as can be seen from here.",
      ok: "Yes.",
    };
    return paint(SHOWN[verdict][1], words[verdict]);
  }
}
