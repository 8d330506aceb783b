/**
 * Where what checkpointctl 1.6 shows is found here. docs/reference/checkpointctl.md is made of it; that nothing is
 * missing, a test learns from what checkpointctl itself says of real archives.
 */

export interface Counterpart {
  /** A key of its JSON, or a column. Lists are `[]`, maps with keys of their own `*`. */
  theirs: string;
  /** A key of ours, in the JSON of the command of the table's title, or a command and its column. */
  ours: string;
  /** What is different. */
  note?: string;
}

const same = (theirs: string, ours: string, note?: string): Counterpart => ({ theirs, ours, note });

/** `checkpointctl inspect --all --format json`, as keys of `kcr inspect --all -o json`. */
export const INSPECT: readonly Counterpart[] = [
  same("container_name", "container.name"),
  same("image", "image.name"),
  same("id", "container.id"),
  same("runtime", "runtime"),
  same("created", "created", "to the nanosecond"),
  same("checkpointed", "checkpointed", "to the nanosecond"),
  same("engine", "engine", "`containerd`, `cri-o` and `podman`"),
  same("ip", "networks[].addresses", "a list for each interface"),
  same("mac", "networks[].mac"),
  same("networks", "networks"),
  same("networks[].name", "networks[].network"),
  same("networks[].interfaces", "networks[].name", "an interface is an entry of its own"),
  same("networks[].interfaces.*", "networks[].name"),
  same("networks[].interfaces.*.ip", "networks[].addresses", "all of them"),
  same("networks[].interfaces.*.mac", "networks[].mac"),
  same("networks[].interfaces.*.gateway", "networks[].gateway"),
  same("checkpoint_size", "size"),
  same(
    "checkpoint_size.total_size",
    "size.images",
    "what CRIU wrote; `size.archive` is the archive's own size",
  ),
  same("checkpoint_size.memory_pages_size", "size.memoryPages"),
  same("checkpoint_size.amd_gpu_memory_pages_size", "size.gpuPages"),
  same("checkpoint_size.root_fs_diff_size", "size.rootfsDiff"),
  same("statistics", "statistics"),
  same("statistics.freezing_time", "statistics.freezingUs"),
  same("statistics.frozen_time", "statistics.frozenUs"),
  same("statistics.memdump_time", "statistics.memdumpUs"),
  same("statistics.memwrite_time", "statistics.memwriteUs"),
  same("statistics.pages_scanned", "statistics.pagesScanned"),
  same("statistics.pages_written", "statistics.pagesWritten"),
  same("metadata", "metadata"),
  same("metadata.pod_name", "container.pod"),
  same("metadata.kubernetes_namespace", "container.namespace"),
  same("metadata.annotations", "metadata.annotations"),
  same("metadata.annotations.*", "metadata.annotations.*"),
  same(
    "process_tree",
    "processes",
    "a list, parents before their children: a tree may be deeper than JSON is read",
  ),
  same("process_tree.children", "processes[].ppid"),
  same("process_tree.pid", "processes[].pid"),
  same("process_tree.command", "processes[].name"),
  same(
    "process_tree.cmdline",
    "processes[].arguments",
    "a list, so that arguments with blanks can be told apart",
  ),
  same("process_tree.task_state", "processes[].state", "in lower case"),
  same("process_tree.environment_variables", "processes[].environment", "a list, in the order of memory"),
  same("process_tree.environment_variables.*", "processes[].environment[].value", "see `--show-secrets`"),
  same("file_descriptors", "processes[].files"),
  same("file_descriptors[].pid", "processes[].files[].pid"),
  same("file_descriptors[].open_files", "processes[].files"),
  same("file_descriptors[].open_files[].type", "processes[].files[].kind"),
  same("file_descriptors[].open_files[].fd", "processes[].files[].fd", "a number, `cwd` or `root`"),
  same("file_descriptors[].open_files[].path", "processes[].files[].name", "also of what is no file"),
  same("sockets", "processes[].sockets"),
  same("sockets[].pid", "processes[].sockets[].pid"),
  same("sockets[].open_sockets", "processes[].sockets"),
  same("sockets[].open_sockets[].protocol", "processes[].sockets[].protocol"),
  same("sockets[].open_sockets[].data", "processes[].sockets"),
  same("sockets[].open_sockets[].data.type", "processes[].sockets[].kind"),
  same(
    "sockets[].open_sockets[].data.address",
    "processes[].sockets[].name",
    "without the NUL at a path's end",
  ),
  same("sockets[].open_sockets[].data.state", "processes[].sockets[].state"),
  same("sockets[].open_sockets[].data.src", "processes[].sockets[].local.address"),
  same("sockets[].open_sockets[].data.src_port", "processes[].sockets[].local.port"),
  same("sockets[].open_sockets[].data.dst", "processes[].sockets[].remote.address"),
  same("sockets[].open_sockets[].data.dst_port", "processes[].sockets[].remote.port"),
  same("sockets[].open_sockets[].data.send_buf", "processes[].sockets[].sendBuffer", "in bytes"),
  same("sockets[].open_sockets[].data.recv_buf", "processes[].sockets[].receiveBuffer", "in bytes"),
  same("mounts", "mounts"),
  same("mounts[].destination", "mounts[].destination"),
  same("mounts[].type", "mounts[].type"),
  same("mounts[].source", "mounts[].source"),
];

/** `checkpointctl diff --format json` with all its flags, as keys of `kcr diff -o json`. */
const changes = (topic: string, fields: Readonly<Record<string, string>>, ours: string): Counterpart[] => [
  same(topic, `differences.${ours}`),
  ...["added", "removed"].flatMap((change) => [
    same(`${topic}.${change}`, `differences.${ours}[].change`),
    ...Object.entries(fields).map(([field, key]) =>
      same(`${topic}.${change}[].${field}`, key.replace("$", change === "added" ? "after" : "before")),
    ),
  ]),
  same(`${topic}.unchanged`, `differences.${ours}`, "what is the same is not shown: kcr inspect shows it"),
  ...Object.keys(fields).map((field) =>
    same(`${topic}.unchanged[].${field}`, `differences.${ours}`, "what is the same is not shown"),
  ),
];

export const DIFF: readonly Counterpart[] = [
  same("container_id", "a.containerId", "of both, which may be two containers"),
  same("container_name", "a.container"),
  same("image", "a.image"),
  same("checkpoint_a", "a"),
  same(
    "checkpoint_a.created",
    "a.checkpointed",
    "when it was taken; theirs is when the container was created",
  ),
  same("checkpoint_a.total_size", "a.archive", "sizes are kcr inspect's; what changed is counted by pages"),
  same("checkpoint_b", "b"),
  same("checkpoint_b.created", "b.checkpointed"),
  same("checkpoint_b.total_size", "b.archive"),
  same("summary", "differ", "and the exit code 3"),
  ...changes(
    "process_changes",
    {
      pid: "differences.processes[].what",
      command: "differences.processes[].what",
      cmdline: "differences.processes[].$",
      environment_variables: "differences.environment",
    },
    "processes",
  ),
  ...changes(
    "file_changes",
    {
      pid: "differences.files[].what",
      fd: "differences.files[].what",
      path: "differences.files[].$",
      type: "differences.files[].$",
    },
    "files",
  ),
  ...changes(
    "socket_changes",
    Object.fromEntries([
      ["pid", "differences.sockets[].what"],
      ...["address", "dest", "dst_port", "protocol", "source", "src_port", "state", "type"].map((field) => [
        field,
        "differences.sockets[].$",
      ]),
    ]),
    "sockets",
  ),
  same("memory_changes", "memory"),
  same("memory_changes.size_change_bytes", "memory[].changed", "pages by their content, not sizes alone"),
  same("memory_changes.size_change_mb", "memory[].changed"),
];

/** The columns of its other commands, by command: `show: IMAGE`. */
export const COLUMNS: readonly Counterpart[] = [
  same("show: CONTAINER", "kcr inspect -o wide: CONTAINER"),
  same("show: IMAGE", "kcr inspect -o wide: IMAGE"),
  same("show: ID", "kcr inspect -o wide: ID"),
  same("show: RUNTIME", "kcr inspect -o wide: RUNTIME"),
  same("show: CREATED", "kcr inspect -o wide: CREATED"),
  same("show: ENGINE", "kcr inspect -o wide: ENGINE"),
  same("show: CHKPT SIZE", "kcr inspect -o wide: CRIU IMAGES"),
  same("show: ROOT FS DIFF SIZE", "kcr inspect -o wide: ROOTFS"),
  same("list: NAMESPACE", "kcr inspect -o wide: NAMESPACE", "of a directory, as in checkpointctl list"),
  same("list: POD", "kcr inspect -o wide: POD"),
  same("list: CONTAINER", "kcr inspect -o wide: CONTAINER"),
  same("list: ENGINE", "kcr inspect -o wide: ENGINE"),
  same("list: TIME CHECKPOINTED", "kcr inspect -o wide: CHECKPOINTED"),
  same("list: CHECKPOINT NAME", "kcr inspect -o wide: ARCHIVE"),
  same("memparse: PID", "kcr mem -o wide: PID"),
  same("memparse: PROCESS NAME", "kcr mem -o wide: NAME"),
  same("memparse: MEMORY SIZE", "kcr mem -o wide: MEMORY"),
  same("memparse: SHARED MEMORY SIZE", "kcr mem -o wide: SHARED"),
  same("memparse --search: ADDRESS", "kcr mem --search: ADDRESS"),
  same("memparse --search: MATCH", "kcr mem --search: MATCH"),
  same("memparse --search: INSTANCE", "kcr mem --search: PID", "a line for each match, of all processes"),
  same("memparse --pid: Address", "kcr mem --hex"),
  same("memparse --pid: Hexadecimal", "kcr mem --hex"),
  same("memparse --pid: ASCII", "kcr mem --hex"),
];

/** The page docs/reference/checkpointctl.md. */
export function checkpointctlReference(mark: string): string {
  const table = (title: string, head: readonly [string, string], rows: readonly Counterpart[]) =>
    [
      `## ${title}`,
      "",
      `| ${head[0]} | ${head[1]} | |`,
      "|---|---|---|",
      ...rows.map(({ theirs, ours, note = "" }) => `| \`${theirs}\` | \`${ours}\` | ${note} |`),
      "",
    ].join("\n");
  return [
    `<!-- ${mark} -->`,
    "# For those who know checkpointctl",
    "",
    "Where what checkpointctl shows of a checkpoint is found here. `[]` is any entry of a list, `*` any key of a map.",
    "",
    table("checkpointctl inspect --format json", ["its key", "key of `kcr inspect --all -o json`"], INSPECT),
    table("checkpointctl diff --format json", ["its key", "key of `kcr diff -o json`"], DIFF),
    table("Columns of its other commands", ["its command and column", "ours"], COLUMNS),
    "`checkpointctl build` is `kcr build` and `kcr push`, `checkpointctl memparse --output` is `kcr mem --dump`.",
    "",
  ].join("\n");
}
