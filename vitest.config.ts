import { defineConfig } from "vitest/config";

/**
 * unit: beside the code, no process but this one.
 * integration: a real API server and etcd (and registry), started by the suite's set-up.
 * faults: operator and agent as processes with API servers of their own, which they are cut off from; they wait most of
 *   the time, so they run beside e2e.
 * e2e: the local cluster, brought up once by the suite's set-up; files side by side, a namespace each.
 * disruptive: the same cluster, one file after another: they take parts of it down and leave it whole.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{src,cluster,scripts,bench,demo,test/support,test/soak}/**/*.test.ts"],
          exclude: ["**/*.integration.test.ts"],
        },
      },
      {
        test: {
          name: "integration",
          include: ["{src,test/integration}/**/*.integration.test.ts"],
          globalSetup: ["test/integration/setup.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "faults",
          include: ["test/faults/*.integration.test.ts"],
          globalSetup: ["test/integration/setup.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/*.test.ts"],
          globalSetup: ["test/e2e/setup.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 4,
        },
      },
      {
        test: {
          name: "disruptive",
          include: ["test/e2e/disruptive/*.test.ts"],
          globalSetup: ["test/e2e/setup.ts"],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
