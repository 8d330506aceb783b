import type { Command } from "commander";
import type { Io } from "../io.ts";
import { registerBuild } from "./build.ts";
import { registerCheck } from "./check.ts";
import { registerInstall } from "./install.ts";
import { registerPush } from "./push.ts";
import { registerVersion } from "./version.ts";

/** Adds one command to the program. */
export type Register = (program: Command, io: Io) => void;

/** All commands, as the help lists them. */
export const GROUPS: readonly { heading: string; register: readonly Register[] }[] = [
  { heading: "On a cluster:", register: [registerCheck] },
  {
    heading: "Inside a checkpoint (a file, a Checkpoint, an image):",
    register: [registerBuild, registerPush],
  },
  { heading: "kcr itself:", register: [registerInstall, registerVersion] },
];
