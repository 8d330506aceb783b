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
  .action(async (flags: { count: string; seed: string }) => {
    const [count, seed] = [Number(flags.count), Number(flags.seed)];
    const result = await progressTo().task(`${count} calls, seed ${seed}`, (detail) =>
      fuzzCreate({ count, seed, progress: (done) => detail(`${done} of ${count}`) }),
    );
    console.log(JSON.stringify({ seed, ...result }, undefined, 2));
    if (result.wrong.length > 0) process.exitCode = 1;
  });
await program.parseAsync();
