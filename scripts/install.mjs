// Runs before the npm scripts, on whatever Node the machine starts with (20 or newer): installs the locked
// dependencies when node_modules is missing or older than the lock file, so that one command is enough on a
// fresh clone. The package `node` among them gives every later step Node 26.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const stamp = "node_modules/.kcr-lock";
const lock = readFileSync("package-lock.json", "utf8");
const fresh =
  existsSync(stamp) && existsSync("node_modules/.bin/node") && readFileSync(stamp, "utf8") === lock;
if (!fresh) {
  console.error("kcr: installing dependencies (npm ci) ...");
  const done = spawnSync("npm", ["ci", "--no-fund", "--no-audit"], { stdio: ["ignore", 2, 2] });
  if (done.status !== 0) {
    console.error("kcr: npm ci failed; see the lines above");
    process.exit(done.status ?? 1);
  }
  writeFileSync(stamp, lock);
}
