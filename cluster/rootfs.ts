import { createHash } from "node:crypto";
import { access, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ensurePackages } from "./debian.ts";
import { withLock } from "./lock.ts";
import { cacheDir } from "./paths.ts";
import { type Progress, silent } from "./progress.ts";
import { run } from "./run.ts";

const suite = "forky";
const mirror = process.env["KCR_DEBIAN_MIRROR"] || "http://deb.debian.org/debian";
/** Beyond a minimal Debian: what a node needs, then what images are cut from (see images.ts). */
const packages = [
  ...["criu", "iproute2", "nftables", "netbase", "libseccomp2", "procps"],
  ...["busybox-static", "redis-tools", "ca-certificates", "libstdc++6", "libatomic1"],
];
/** Older ones fail on the vDSO, and on INET sockets of kernels 6.16 and later. */
const oldestCriu = [4, 2] as const;

/**
 * A minimal Debian tree with CRIU in it: the lower layer of every node's root, made once and never written to
 * afterwards. Returns its absolute path in the cache.
 *
 * Errors: `CommandError` with the end of debootstrap's output; an Error when the CRIU in it is too old.
 */
export async function ensureRootfs({
  progress = silent,
  signal,
}: {
  progress?: Progress;
  signal?: AbortSignal;
} = {}): Promise<string> {
  const key = createHash("sha256")
    .update(JSON.stringify([suite, packages, process.arch]))
    .digest("hex");
  const tree = cacheDir("rootfs", `${suite}-${key.slice(0, 16)}`);
  if (await exists(tree)) return tree;
  await progress.task("building the nodes' root file system", (detail) =>
    withLock(
      cacheDir("rootfs", "lock"),
      async () => {
        if (await exists(tree)) return;
        await ensurePackages(["debootstrap", "debian-archive-keyring"], progress, signal);
        const aside = `${tree}.building`;
        await rm(aside, { recursive: true, force: true });
        await mkdir(aside, { recursive: true });
        // In a mount namespace of its own, so that no mount is left however it ends.
        // debootstrap's script for unstable does for every newer suite; old ones do not know the suite by name.
        await run(
          [
            ...["unshare", "--mount", "debootstrap", "--variant=minbase", `--include=${packages.join(",")}`],
            "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
            ...[suite, aside, mirror, "/usr/share/debootstrap/scripts/sid"],
          ],
          { signal, onLine: (line) => detail(line.replace(/^I: /, "").toLowerCase()) },
        );
        await checkCriu(aside, signal);
        await rm(join(aside, "var/cache/apt/archives"), { recursive: true, force: true });
        await rename(aside, tree);
      },
      { signal, waiting: () => detail("waiting for another process that builds it") },
    ),
  );
  return tree;
}

async function checkCriu(tree: string, signal: AbortSignal | undefined): Promise<void> {
  const said = await run(["chroot", tree, "/usr/sbin/criu", "--version"], { signal });
  const [major = 0, minor = 0] = (/Version: (\d+)\.(\d+)/.exec(said)?.slice(1) ?? []).map(Number);
  const [oldestMajor, oldestMinor] = oldestCriu;
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    throw new Error(`CRIU ${oldestCriu.join(".")} or newer is needed, ${mirror} ${suite} has ${said.trim()}`);
  }
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
