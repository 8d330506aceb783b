import type { Command } from "commander";
import type { Io } from "../io.ts";
import { registerBuild } from "./build.ts";
import { registerCheck } from "./check.ts";
import { registerCheckpoint } from "./checkpoint.ts";
import { registerCompletion } from "./completion.ts";
import { registerDelete } from "./delete.ts";
import { registerDescribe } from "./describe.ts";
import { registerDiff } from "./diff.ts";
import { registerDownload } from "./download.ts";
import { registerEnv } from "./env.ts";
import { registerFiles } from "./files.ts";
import { registerFs } from "./fs.ts";
import { registerHistory } from "./history.ts";
import { registerInspect } from "./inspect.ts";
import { registerInstall } from "./install.ts";
import { registerLog } from "./log.ts";
import { registerMem } from "./mem.ts";
import { registerPin } from "./pin.ts";
import { registerProtect } from "./protect.ts";
import { registerPs } from "./ps.ts";
import { registerPush } from "./push.ts";
import { registerRestore } from "./restore.ts";
import { registerRetention } from "./retention.ts";
import { registerSchedule } from "./schedule.ts";
import { registerSockets } from "./sockets.ts";
import { registerStatus } from "./status.ts";
import { registerSupportBundle } from "./support-bundle.ts";
import { registerUninstall } from "./uninstall.ts";
import { registerUsage } from "./usage.ts";
import { registerVerify } from "./verify.ts";
import { registerVersion } from "./version.ts";

/** Adds one command to the program. */
export type Register = (program: Command, io: Io) => void;

/** All commands, as the help lists them. */
export const GROUPS: readonly { heading: string; register: readonly Register[] }[] = [
  {
    heading: "On a cluster:",
    register: [
      registerStatus,
      registerProtect,
      registerSchedule,
      registerCheckpoint,
      registerRestore,
      registerCheck,
      registerHistory,
      registerDescribe,
      registerDownload,
      registerDelete,
      registerPin,
      registerRetention,
      registerUsage,
    ],
  },
  {
    heading: "Inside a checkpoint (a file, a Checkpoint, an image):",
    register: [
      registerInspect,
      registerPs,
      registerFiles,
      registerSockets,
      registerEnv,
      registerLog,
      registerMem,
      registerFs,
      registerDiff,
      registerVerify,
      registerBuild,
      registerPush,
    ],
  },
  {
    heading: "kcr itself:",
    register: [
      registerInstall,
      registerUninstall,
      registerSupportBundle,
      registerCompletion,
      registerVersion,
    ],
  },
];
