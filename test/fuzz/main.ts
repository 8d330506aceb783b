import { Command } from "commander";
import { progressTo } from "../../cluster/progress.ts";
import { fuzzCreate } from "./create.ts";

/** The command `npm run fuzz -- ...`: long runs, by hand; short ones are part of the tests. */

const program = new Command("fuzz").description("Whatever may come, for a long time");
program
  .command("create")
  .description("calls of the runtime handler's create, with a recorder in the real runtime's place")
  .option("--count <number>", "how many", "100000")
  .option("--seed <number>", "where the random numbers begin", String(Date.now() % 1_000_000))
  .option("--planned <share>", "share of the calls that have a plan", "0.1")
  .action(async (flags: { count: string; seed: string; planned: string }) => {
    const [count, seed, planned] = [flags.count, flags.seed, flags.planned].map(Number) as [
      number,
      number,
      number,
    ];
    const result = await progressTo().task(`${count} calls, seed ${seed}`, (detail) =>
      fuzzCreate({ count, seed, planned, progress: (done) => detail(`${done} of ${count}`) }),
    );
    console.log(JSON.stringify({ seed, planned, ...result }, undefined, 2));
    if (result.wrong.length > 0) process.exitCode = 1;
  });
await program.parseAsync();
