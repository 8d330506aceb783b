import { Command } from "commander";
import { progressTo } from "../../cluster/progress.ts";
import { fuzzCreate } from "./create.ts";
import { fuzzInspect } from "./inspect.ts";

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
program
  .command("inspect")
  .description("strange archives, each read by one of the commands that read archives")
  .option("--count <number>", "how many", "1000000")
  .option("--seed <number>", "where the random numbers begin", String(Date.now() % 1_000_000))
  .option("--no-monsters", "without the archives that have a million of something")
  .action(async (flags: { count: string; seed: string; monsters: boolean }) => {
    const [count, seed] = [flags.count, flags.seed].map(Number) as [number, number];
    const result = await progressTo().task(`${count} archives, seed ${seed}`, (detail) =>
      fuzzInspect({
        count,
        seed,
        monsters: flags.monsters,
        progress: (done) => detail(`${done} of ${count}`),
      }),
    );
    console.log(JSON.stringify({ count, seed, ...result }, undefined, 2));
    if (result.wrong.length > 0) process.exitCode = 1;
  });
await program.parseAsync();
