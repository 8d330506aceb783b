import { expect, test } from "vitest";
import type { RetentionRules } from "./retention.ts";
import { settings } from "./settings.ts";

test.each<[RetentionRules, boolean]>([
  [{}, true],
  [{ keepLast: 3, maxAge: "720h", maxTotalSize: "10Gi" }, true],
  [{ keepLast: 0, keepDaily: 1 }, true],
  [{ keepLast: 0 }, false],
  [{ maxCount: 0 }, false],
  [{ maxCount: 0, mayRemoveAll: true }, true],
  [{ maxAge: "0s" }, false],
  [{ maxTotalSize: 0 }, false],
  [{ maxTotalSize: "10GB" }, false],
  [{ maxCheckpointSize: 10 }, false],
  [{ maxCheckpointSize: "-1Gi" }, false],
])("defaults %j in the settings are taken: %s", (defaults, isTaken) => {
  expect(settings.safeParse({ store: "node", retention: { defaults } }).success).toBe(isTaken);
});
