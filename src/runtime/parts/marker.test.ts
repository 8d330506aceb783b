import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type RestoredMarker, writeMarker } from "./marker.ts";

const marker: RestoredMarker = {
  version: 1,
  from: "web-0-shop-1",
  to: "f92a",
  pod: "web-0",
  takenTime: "2026-11-21T10:00:00Z",
  ageSeconds: 60,
  restoredTime: "2026-11-21T10:01:00Z",
  perPodEnv: ["POD_IP"],
};

let base: string;
let rootfs: string;
let outside: string;
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "kcr-marker-"));
  rootfs = join(base, "rootfs");
  outside = join(base, "outside");
  for (const dir of [rootfs, outside]) mkdirSync(dir);
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const written = () => JSON.parse(readFileSync(join(rootfs, "run/kcr/restored"), "utf8"));

it("tells everyone in the container, anew at each restore", () => {
  writeMarker(rootfs, { ...marker, from: "older, with a longer name" });
  writeMarker(rootfs, marker);
  expect(written()).toEqual(marker);
  expect(lstatSync(join(rootfs, "run/kcr/restored")).mode & 0o7777).toBe(0o644);
  expect(lstatSync(join(rootfs, "run/kcr")).mode & 0o7777).toBe(0o755);
});

it.each<[string, () => void]>([
  [
    "the file",
    () => {
      mkdirSync(join(rootfs, "run/kcr"));
      symlinkSync(join(outside, "file"), join(rootfs, "run/kcr/restored"));
    },
  ],
  ["its directory", () => symlinkSync(outside, join(rootfs, "run/kcr"))],
  ["its directory, as a file", () => writeFileSync(join(rootfs, "run/kcr"), "")],
])("replaces what is in the way of %s", (_, plant) => {
  mkdirSync(join(rootfs, "run"));
  plant();
  writeMarker(rootfs, marker);
  expect(written()).toEqual(marker);
  expect(readdirSync(outside)).toEqual([]);
});

it.each(["../outside", "var/run"])(
  "is no reason not to restore where /run is a link (%s), and follows none",
  (target) => {
    mkdirSync(join(rootfs, "var/run"), { recursive: true });
    symlinkSync(target, join(rootfs, "run"));
    writeMarker(rootfs, marker);
    expect([outside, join(rootfs, "var/run")].flatMap((dir) => readdirSync(dir))).toEqual([]);
  },
);
