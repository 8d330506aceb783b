import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensurePackages } from "../../cluster/debian.ts";
import { ensureImage } from "../../cluster/images.ts";
import { ensureRootfs } from "../../cluster/rootfs.ts";
import { available, run } from "../../cluster/run.ts";
import { blobPath } from "../../src/oci/layout.ts";
import { waitFor } from "./wait-for.ts";

/** How Podman packs what it exports; zstd when it is not told. */
export const PACKINGS = ["none", "gzip", "zstd"] as const;
export type Packing = (typeof PACKINGS)[number];

export interface PodmanArchives extends AsyncDisposable {
  paths: Readonly<Record<Packing, string>>;
}

/** Why Podman cannot be had on this machine, or undefined. It is installed where that is possible. */
export async function whyNotPodman(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "root is needed";
  await ensurePackages(["podman", "runc"]);
  return (await available("podman")) ? undefined : "podman is needed";
}

/**
 * Archives of a shell, dumped and exported by this machine's Podman and runc with the CRIU of the cluster's nodes: that
 * of an older distribution may not know the kernel. Podman has a store of its own for it, which goes on disposing.
 */
export async function podmanArchives(): Promise<PodmanArchives> {
  const directory = await mkdtemp(join(tmpdir(), "kcr-podman-"));
  const paths = Object.fromEntries(
    PACKINGS.map((packing) => [packing, join(directory, `${packing}.tar`)]),
  ) as Record<Packing, string>;
  const env = { ...process.env, PATH: `${await criuBeside(directory)}:${process.env["PATH"]}` };
  const store = ["--root", join(directory, "root"), "--runroot", join(directory, "run")];
  const how = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
  const podman = (...args: string[]) =>
    run(["podman", ...store, ...how, "--runtime", "runc", ...args], { env, cwd: "/" });
  const dispose = async () => {
    await podman("rm", "--all", "--force", "--time", "0");
    await rm(directory, { recursive: true });
  };
  try {
    const { directory: layout, manifest } = await ensureImage("busybox");
    const image = "localhost/kcr-test/busybox:1";
    await podman("import", "--quiet", blobPath(layout, manifest.layers[0]!.digest), image);
    await Promise.all(
      PACKINGS.map(async (packing) => {
        const script = "echo said; echo written >/tmp/file; rm /bin/vi; exec sleep 3600";
        // Limits that need no right to be raised, and no network, which would need more packages.
        const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];
        const given = [
          "--env",
          "GREETING=hello",
          "--env",
          "PATH=/bin",
          "--security-opt",
          "seccomp=unconfined",
        ];
        await podman("run", "--detach", "--name", packing, ...limits, ...given, image, "sh", "-c", script);
        await waitFor("it to sleep", async () =>
          (await podman("top", packing, "args")).includes("sleep 3600"),
        );
        const to = ["--export", paths[packing], "--compress", packing];
        await podman("container", "checkpoint", ...to, packing);
      }),
    );
  } catch (error) {
    await dispose();
    throw error;
  }
  return { paths, [Symbol.asyncDispose]: dispose };
}

/** A directory with a command `criu` that runs the nodes' CRIU, with the libraries it was made for. */
async function criuBeside(directory: string): Promise<string> {
  const tree = await ensureRootfs();
  const bin = join(directory, "bin");
  const criu = join(bin, "criu");
  await mkdir(bin);
  const script = `#!/bin/sh
lib=$(echo ${tree}/usr/lib/*-linux-gnu)
loader=$(echo ${tree}/usr/lib*/ld-linux-*.so.*)
exec \${loader%% *} --library-path $lib ${tree}/usr/sbin/criu "$@"
`;
  await writeFile(criu, script);
  await chmod(criu, 0o755);
  return bin;
}
