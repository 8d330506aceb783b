import { Layout } from "../store/layout.ts";
import { parseCall } from "./args.ts";
import { checkpoint, undumped } from "./checkpoint.ts";
import { readConf } from "./conf.ts";
import { clean, create } from "./create.ts";
import { settle } from "./undo.ts";

/**
 * The part of kcr-runtime that is more than passing on, called by kcr-runtime.c:
 * `runtime.mjs <its directory> create|clean|checkpoint|undumped|delete -- <arguments of the call>`.
 */

/** How kcr-runtime.c is told what to do: keep in step with it. */
const EXIT = { restored: 0, create: 100, refused: 101 } as const;

async function main([home = "", phase, , ...argv]: string[]): Promise<number> {
  const conf = readConf(home);
  const call = parseCall(argv);
  if (call === undefined) return EXIT.create;
  switch (phase) {
    case "create":
      return EXIT[await create(conf, call)];
    case "clean":
      return EXIT[await clean(conf, call)];
    case "checkpoint":
      await checkpoint(conf, call);
      return 0;
    case "undumped":
      await undumped(conf, call);
      return 0;
    case "delete":
      settle(new Layout(conf.state), call.words[0]);
      return 0;
    default:
      return EXIT.create;
  }
}

// An exit with another code says that it broke: whoever called cleans up and runs the real runtime.
process.exitCode = await main(process.argv.slice(2));
