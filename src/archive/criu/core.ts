import type { Bytes } from "../bytes.ts";
import { firstRecord } from "./image.ts";
import { parseMessage } from "./message.ts";

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

/** The processor architecture of a dumped process; undefined when it is one not known here. */
export async function readArchitecture(core: Bytes): Promise<string | undefined> {
  const machine = parseMessage(core.name, await firstRecord(core, "core")).number(1);
  return machine === undefined ? undefined : ARCHITECTURES[machine];
}
