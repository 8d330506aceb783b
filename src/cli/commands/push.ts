import type { Command } from "commander";
import { completes } from "../completion/sources.ts";
import { type Io, print } from "../io.ts";
import { size } from "../output/sizes.ts";
import { openRegistry, type RegistryFlags, withRegistryFlags } from "../registry.ts";
import { examples } from "./examples.ts";

export function registerPush(program: Command, io: Io): void {
  const command = program
    .command("push")
    .description("push an archive to a registry as an image that containerd and CRI-O restore from")
    .argument("<archive>", "a checkpoint archive: a file")
    .argument("<image>", "registry/repository[:tag]")
    .option("-q, --quiet", "print the image's name by digest and nothing else");
  completes(command, { args: ["file"] });
  withRegistryFlags(command)
    .addHelpText(
      "after",
      examples([
        ["kcr push checkpoint.tar registry.example/kcr/redis:monday", "push an archive"],
        [
          "kubectl set image pod/redis redis=$(kcr push -q checkpoint.tar registry.example/kcr/redis:monday)",
          "push it, and let a pod be restored from it",
        ],
      ]),
    )
    .action(async (archive: string, name: string, flags: RegistryFlags & { quiet?: boolean }) => {
      const [{ newImageName }, { pushArchive }] = await Promise.all([
        import("../image/reference.ts"),
        import("../image/push.ts"),
      ]);
      const reference = newImageName(name);
      const { registry, repository, tag } = reference;
      await using client = await openRegistry(io, flags, registry, repository);
      const image = await pushArchive(io, { archive, reference, client });
      const byDigest = `${registry}/${repository}@${image.digest}`;
      if (flags.quiet) return await print(io, byDigest);
      await print(
        io,
        `pushed ${registry}/${repository}:${tag}, ${size(image.layer.size)}`,
        `  ${byDigest}`,
        "A pod is restored from it when that is its container's image.",
      );
    });
}
