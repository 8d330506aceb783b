import { type EntrySpec, message } from "./archive.ts";
import { image, type MemorySpec, memoryImages } from "./criu.ts";

export interface DescriptorSpec {
  fd: number;
  /** fd_types of images/fdinfo.proto. */
  type: number;
  fileId: number;
}

/** A process as CRIU dumps one; alive and without anything unless said. */
export interface ProcessSpec {
  pid: number;
  ppid?: number;
  name?: string;
  /** compel/include/uapi/task-state.h: 1 alive, 3 stopped, 6 zombie. */
  state?: number;
  /** Besides the first, which has the process's number. */
  threads?: readonly number[];
  memory?: Omit<MemorySpec, "pid">;
  descriptors?: readonly DescriptorSpec[];
}

/** Ids of files.img that `processImages` gives every process for its working directory and root. */
export const ROOT_FILE = 1;

/** An entry of files.img: a regular file, by the path that the process saw. */
export const regularFile = (id: number, path: string, more: Record<number, number> = {}): Uint8Array =>
  message({ 1: 1, 2: id, 3: message({ 1: id, 2: 0, 3: 0, 6: path, 10: 0o100644, ...more }) });

const NOTHING: Omit<MemorySpec, "pid"> = { vmas: [], runs: [], pages: Buffer.alloc(0) };

/** The images of processes, and of all that they had open or mapped. They take the place of `checkpointEntries`' own. */
export function processImages(
  processes: readonly ProcessSpec[],
  files: readonly Uint8Array[] = [],
): EntrySpec[] {
  const pstree = processes.map(({ pid, ppid = 0, threads = [] }) =>
    message({ 1: pid, 2: ppid, 3: pid, 4: pid, 5: [pid, ...threads] }),
  );
  return [
    image("pstree", "pstree.img", pstree),
    image("files", "files.img", [regularFile(ROOT_FILE, "/", { 10: 0o40755 }), ...files]),
    ...processes.flatMap(imagesOf),
  ];
}

function imagesOf(spec: ProcessSpec): EntrySpec[] {
  const { pid, name = "program", state = 1, threads = [], memory = NOTHING, descriptors = [] } = spec;
  const task = message({ 1: state, 2: 0, 3: 0, 4: 0, 5: 0, 6: name });
  const credentials = message({ 1: 0, 2: 0, 3: 0, 4: 0 });
  const thread = message({ 1: 0, 2: 0, 10: credentials });
  const core = image("core", `core-${pid}.img`, [message({ 1: 1, 3: task, 5: thread })]);
  if (state !== 1 && state !== 3) return [core];
  return [
    core,
    ...threads.map((tid) => image("core", `core-${tid}.img`, [message({ 1: 1, 5: thread })])),
    image("ids", `ids-${pid}.img`, [message({ 1: pid, 2: pid, 3: pid, 4: pid })]),
    image(
      "fdinfo",
      `fdinfo-${pid}.img`,
      descriptors.map(({ fd, type, fileId }) => message({ 1: fileId, 2: 0, 3: type, 4: fd })),
    ),
    image("fs", `fs-${pid}.img`, [message({ 1: ROOT_FILE, 2: ROOT_FILE, 3: 0o22 })]),
    ...memoryImages({ pid, ...memory }),
  ];
}
