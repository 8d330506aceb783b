import { type Command, InvalidArgumentError } from "commander";
import { clusterFlagsOf } from "../cluster.ts";
import { completes } from "../completion/sources.ts";
import type { Io } from "../io.ts";
import { type Format, outputOption } from "../output/print.ts";
import { type RegistryFlags, registryFlagsOf, withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

export function registerVerify(program: Command, io: Io): void {
  const command = program
    .command("verify")
    .description("read all of a checkpoint, and say what of it is damaged")
    .argument("<checkpoint>", "a file, checkpoint/NAME, or an image by digest")
    .option("--digest <digest>", "what the archive has to be: sha256:...", digestOf)
    .addOption(outputOption(["table", "json", "yaml"]));
  completes(command, { args: [["checkpoint", "file"]] });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      `
It looks whether CRIU's images are what they are called and end where they should, whether each process has all its
parts and each page is there, and whether the changed files can be unpacked. What pages should hold only a digest
can tell.
Exit code 3: something is damaged.
${examples([
  ["kcr verify checkpoint.tar", "is it whole?"],
  [
    "kcr verify checkpoint.tar --digest $(kubectl get cp redis-0 -o jsonpath='{.status.digest}')",
    "is it that one?",
  ],
])}`,
    )
    .action(async (checkpoint: string, flags: RegistryFlags & { digest?: string; output: Format }) => {
      const { verify } = await import("../verify/verify.ts");
      const { digest, output: format } = flags;
      const place = { ...registryFlagsOf(flags), ...clusterFlagsOf(command) };
      await verify(io, checkpoint, place, { digest, format });
    });
}

function digestOf(text: string): string {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError("write sha256: and 64 digits.");
  return text;
}
