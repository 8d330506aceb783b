import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeTar, writeCheckpoint } from "../../../test/support/archive.ts";
import { EXIT } from "../exit.ts";
import { kcr, testIo } from "../testing/io.ts";

let directory: string;
let archive: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kcr-fs-"));
  const mtime = new Date(1_700_000_000_000);
  const layer = await makeTar([
    { name: "data", type: "directory", mode: 0o1777, mtime },
    { name: "data/counter", content: "41\n\u001b[31m", mode: 0o4640, uid: 999, gid: 998, mtime },
    { name: "bin/evil\u001b[2J", type: "symlink", linkname: "../sh\n", mtime },
    { name: "data/.wh.old" },
  ]);
  const more = [{ name: "rootfs-diff.tar", content: gzipSync(layer) }];
  archive = await writeCheckpoint(join(directory, "archive.tar"), { more });
});
afterAll(() => rm(directory, { recursive: true }));

test("kcr fs lists what has changed, and nothing that a terminal would obey", async () => {
  const { exit, out } = await kcr(["fs", archive, "-o", "wide"]);
  expect(exit).toBe(EXIT.done);
  expect(out).toBe(
    [
      "CHANGE    MODE         OWNER       SIZE   MODIFIED               PATH",
      "written   drwxrwxrwt   0:0       <none>   2023-11-14T22:13:20Z   /data",
      "written   -rwSr-----   999:998      8 B   2023-11-14T22:13:20Z   /data/counter",
      "written   lrw-r--r--   0:0       <none>   2023-11-14T22:13:20Z   /bin/evil\\x1b[2J -> ../sh\\n",
      "deleted   <none>       <none>    <none>   <none>                 /data/old",
      "",
    ].join("\n"),
  );
});

test("as JSON, and by name", async () => {
  const { changes } = JSON.parse((await kcr(["fs", archive, "-o", "json"])).out);
  expect(changes[1]).toEqual({
    change: "written",
    path: "/data/counter",
    type: "file",
    mode: "4640",
    uid: 999,
    gid: 998,
    size: 8,
    modified: "2023-11-14T22:13:20Z",
  });
  expect(changes[3]).toEqual({ change: "deleted", path: "/data/old" });
  expect((await kcr(["fs", archive, "-o", "name"])).out).toContain("/data/counter\n");
});

test("cat writes a file as it is, and on a terminal what it would obey made visible", async () => {
  expect(await kcr(["fs", archive, "cat", "/data/counter"])).toMatchObject({ out: "41\n\u001b[31m" });
  const shown = await kcr(["fs", archive, "cat", "/data/counter"], testIo({ tty: true }));
  expect(shown.out).toBe("41\n\\x1b[31m");
  expect(await kcr(["fs", archive, "cat", "/data/old"])).toMatchObject({ exit: EXIT.failed });
  expect(await kcr(["fs", archive, "cat"])).toMatchObject({ exit: EXIT.usage });
  expect(await kcr(["fs", archive, "rm", "/data/old"])).toMatchObject({ exit: EXIT.usage });
});

test("says so when nothing has changed", async () => {
  const none = await writeCheckpoint(join(directory, "none.tar"));
  expect(await kcr(["fs", none])).toMatchObject({
    exit: EXIT.done,
    out: "",
    err: expect.stringContaining("nothing"),
  });
});
