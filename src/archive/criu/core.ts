import type { Bytes } from "../bytes.ts";
import { firstRecord } from "./image.ts";
import { type Fields, parseMessage } from "./message.ts";

/** core_entry.march of images/core.proto, by the names that images use (GOARCH). */
const ARCHITECTURES: Readonly<Record<number, string>> = {
  1: "amd64",
  2: "arm",
  3: "arm64",
  4: "ppc64le",
  5: "s390x",
  6: "mips64le",
  7: "loong64",
  8: "riscv64",
};

/** compel/include/uapi/task-state.h. */
const STATES: Readonly<Record<number, "alive" | "dead" | "stopped" | "zombie">> = {
  1: "alive",
  2: "dead",
  3: "stopped",
  6: "zombie",
};

export type TaskState = "alive" | "dead" | "stopped" | "zombie" | `state ${number}`;

/** What core-<pid>.img says of a process (images/core.proto), or of a thread, which has only part of it. */
export interface Core {
  /** GOARCH; undefined when it is one not known here. */
  architecture: string | undefined;
  /** Undefined for a thread that is not its process's first. */
  state: TaskState | undefined;
  /** The name of 15 bytes at most that the kernel knows it by (comm). */
  name: string;
  /** As wait(2) has it, of one that has ended. */
  exitCode: number;
  /** Undefined for one that has ended. */
  credentials: { uid: number; gid: number } | undefined;
}

/** Only such have memory and files. */
export const hasMemory = (state: TaskState | undefined): boolean => state === "alive" || state === "stopped";

/** Reads core-<id>.img. Errors: `ArchiveError`. */
export async function readCore(image: Bytes): Promise<Core> {
  const core = parseMessage(image.name, await firstRecord(image, "core"));
  const task = core.message(3);
  const thread = core.message(5);
  const credentials = thread?.message(10);
  const state = task?.number(1);
  return {
    architecture: architectureOf(core),
    state: state === undefined ? undefined : (STATES[state] ?? `state ${state}`),
    name: task?.text(6) ?? thread?.text(13) ?? "",
    exitCode: task?.number(2) ?? 0,
    credentials: credentials && { uid: credentials.number(3) ?? 0, gid: credentials.number(4) ?? 0 },
  };
}

/** The processor architecture of a dumped process; undefined when it is one not known here. */
export async function readArchitecture(image: Bytes): Promise<string | undefined> {
  return architectureOf(parseMessage(image.name, await firstRecord(image, "core")));
}

function architectureOf(core: Fields): string | undefined {
  const machine = core.number(1);
  return machine === undefined ? undefined : ARCHITECTURES[machine];
}
