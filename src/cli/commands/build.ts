import type { Command } from "commander";
import { completes } from "../completion/sources.ts";
import { type Io, print } from "../io.ts";
import { safe } from "../output/safe.ts";
import { size } from "../output/sizes.ts";
import { examples } from "./examples.ts";

export function registerBuild(program: Command, io: Io): void {
  const command = program
    .command("build")
    .description("make an image of an archive, as a file or directory in the OCI layout")
    .argument("<archive>", "a checkpoint archive: a file")
    .argument("<image>", "what the image is called: [registry/]repository[:tag]")
    .requiredOption("-o, --output <path>", "where to: a tar when it ends in .tar, else a directory")
    .addHelpText(
      "after",
      examples([
        [
          "kcr build checkpoint.tar registry.example/kcr/redis:monday -o redis.tar",
          "an image that `ctr image import`, `podman load` and `skopeo copy oci-archive:` take",
        ],
        ["kcr build checkpoint.tar kcr/redis:monday -o ./redis", "the same as a directory"],
      ]),
    )
    .action(async (archive: string, name: string, { output }: { output: string }) => {
      const [{ newImageName }, { buildArchive }] = await Promise.all([
        import("../image/reference.ts"),
        import("../image/build.ts"),
      ]);
      const reference = newImageName(name);
      const image = await buildArchive(io, { archive, reference, output });
      await print(
        io,
        `built ${safe(output)}, ${size(image.layer.size)}`,
        `  ${reference.registry}/${reference.repository}@${image.digest}`,
      );
    });
  completes(command, { args: ["file"] });
}
