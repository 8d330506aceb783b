import { chmod, copyFile, mkdir, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { run } from "./run.ts";

/** What the root of an image is put together from: files of a Debian tree, and programs with their libraries. */

/** What programs expect of any root: a user data base, names without DNS first, a place for temporary files. */
export async function addSkeleton(root: string): Promise<void> {
  const files = {
    "etc/passwd":
      "root:x:0:0:root:/root:/bin/sh\nkcr:x:65532:65532::/tmp:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\nkcr:x:65532:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
  };
  for (const dir of ["etc", "bin", "root", "tmp", "usr/bin", "var", "dev", "proc", "sys", "run"]) {
    await mkdir(join(root, dir), { recursive: true });
  }
  await chmod(join(root, "tmp"), 0o1777);
  for (const [name, content] of Object.entries(files)) await writeFile(join(root, name), content);
}

/** busybox, and a link to it for each of its commands. */
export async function addBusybox(root: string, rootfs: string): Promise<void> {
  await addFile(root, rootfs, "/usr/bin/busybox", "/bin/busybox");
  const applets = (await run(["chroot", rootfs, "/usr/bin/busybox", "--list"])).trim().split("\n");
  for (const applet of applets) {
    if (applet !== "busybox") await symlink("busybox", join(root, "bin", applet));
  }
}

/** Copies one file of the Debian tree. */
export async function addFile(root: string, rootfs: string, from: string, to = from): Promise<void> {
  const target = join(root, to);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(join(rootfs, from), target);
}

/** Copies a program from anywhere on the machine, with the libraries that the Debian tree has for it. */
export async function addProgram(root: string, rootfs: string, program: string, to: string): Promise<void> {
  const target = join(root, to);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(program, target);
  await chmod(target, 0o755);
  // In a mount namespace of its own, so that nothing of this is left behind.
  const script = `mount --bind "$2" "$1/mnt" && exec chroot "$1" ldd "/mnt/$3"`;
  const argv = ["unshare", "--mount", "sh", "-c", script, "sh", rootfs, dirname(program), basename(program)];
  await addLibraries(root, rootfs, await run(argv));
}

/** Copies the libraries that some of the Debian tree's own files are linked with. */
export async function addLibrariesOf(root: string, rootfs: string, ...files: string[]): Promise<void> {
  for (const file of files) await addLibraries(root, rootfs, await run(["chroot", rootfs, "ldd", file]));
}

async function addLibraries(root: string, rootfs: string, said: string): Promise<void> {
  if (said.includes("not found")) throw new Error(`libraries are missing:\n${said}`);
  for (const line of said.split("\n")) {
    const library = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (library !== undefined) await addFile(root, rootfs, library);
  }
}
