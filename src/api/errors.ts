/**
 * Every error that kcr shows a person: a stable code (used as reason of conditions and Events), what it
 * means, and what to do. The page docs/reference/errors.md is generated from this list.
 */
export const ERRORS = {
  InvalidSchedule: {
    means: "The cron expression cannot be read, or never fires.",
    remedy: "Use five fields (minute hour day month weekday) or a nickname such as @hourly.",
  },
  InvalidTimeZone: {
    means: "The time zone of the schedule is not known.",
    remedy: "Use an IANA name such as Europe/Berlin, or leave it out for UTC.",
  },
  InvalidRetention: {
    means: "A workload's annotation on how many of its checkpoints stay cannot be meant: it is ignored.",
    remedy: "Write a number from 1 on in kcr.io/keep-last, and a duration such as 720h in kcr.io/max-age.",
  },
  ScheduleNameTaken: {
    means: "A CheckpointSchedule of the workload's name exists and does not belong to the workload.",
    remedy: "Rename or delete that schedule; kcr never takes over an object that it did not make.",
  },
  EmptySelector: {
    means: "The schedule's selector is empty and would select every pod.",
    remedy: "Name at least one label in spec.selector.",
  },
  NoMatchingPods: {
    means: "No running pod matches the schedule's selector.",
    remedy: "Compare spec.selector with the labels of the pods; nothing is captured until one matches.",
  },
  PodInOtherNamespace: {
    means: "The request names a pod of another namespace.",
    remedy: "Make the request in the pod's own namespace.",
  },
  PodNotFound: {
    means: "The pod does not exist, or was replaced by another of the same name.",
    remedy: "Name a pod that is running.",
  },
  PodNotRunning: {
    means: "The pod is not running, or is being deleted.",
    remedy: "Wait until the pod runs and make a new request.",
  },
  ContainerNotFound: {
    means: "The pod has no such container.",
    remedy: "Name one of the pod's containers in spec.containerName.",
  },
  ContainerNotRunning: {
    means: "The container is not running.",
    remedy: "Wait until the container runs and make a new request.",
  },
  RestoreInProgress: {
    means:
      "The container is being restored, or ended and what follows is not decided yet: a dump now would bury its state.",
    remedy: "Nothing: the next slot captures the restored container, and a restore that was asked for waits.",
  },
  DeadlineExceeded: {
    means: "The checkpoint was not taken, or the container not restored, within timeoutSeconds.",
    remedy: "Look whether the agent of the node runs; raise timeoutSeconds for large containers.",
  },
  NodeLost: {
    means: "The node of the container no longer exists.",
    remedy: "Nothing: an image that is in the registry is kept.",
  },
  KubeletCertUntrusted: {
    means: "The kubelet's serving certificate is not signed by the trusted CA.",
    remedy:
      "Let the cluster sign kubelet certificates (serverTLSBootstrap), or give the kubelets' CA in kubelet.caFile of kcr's configuration.",
  },
  KubeletForbidden: {
    means: "The kubelet refused the agent.",
    remedy:
      "The node's account (ClusterRole kcr:node:<node>) needs create on nodes/checkpoint, and the kubelet webhook authorization.",
  },
  NodeTokenMissing: {
    means: "The agent gets no token of its node's account, which the kubelet wants to see.",
    remedy:
      "A running operator makes the account, of the node's name, in namespace kcr-nodes; the agent's own token must name its node (Kubernetes 1.31 or newer).",
  },
  KubeletUnreachable: {
    means: "The kubelet does not answer on its port.",
    remedy: "Check that pods of the node may reach port 10250 of their own node.",
  },
  CheckpointUnsupported: {
    means: "The kubelet or the runtime cannot checkpoint.",
    remedy: "The feature gate ContainerCheckpoint must be on, and the runtime needs CRIU on the node.",
  },
  CheckpointFailed: {
    means: "The runtime could not dump the container.",
    remedy:
      "The message carries what the runtime said. Of pods of class kcr, and with engine runc, it carries CRIU's own reason.",
  },
  CriuOptionsInvalid: {
    means: "The pod's annotation kcr.io/criu-options has something in it that is not allowed.",
    remedy: "Correct it in the workload's pod template; the container was not touched.",
  },
  CriuOptionsIgnored: {
    means:
      "The pod's annotation kcr.io/criu-options has no effect on its checkpoint, or none on a restore from it.",
    remedy: "Have the pod restored by its node's handler (RuntimeClass kcr): with it they hold for both.",
  },
  EngineUnavailable: {
    means: "Engine runc was chosen, and the agent cannot dump containers by itself on this node.",
    remedy:
      "Install the privileged agent (config/agent-runc) on nodes with containerd, runc and overlayfs, or choose engine kubelet.",
  },
  ForeignProcess: {
    means:
      "A process that the container did not start stayed in it: an exec probe, or somebody's kubectl exec.",
    remedy: "End it, or give the probe a shorter timeout, and make a new request.",
  },
  PauseTooLong: {
    means: "The dump would have kept the container from running for longer than is allowed.",
    remedy:
      "Raise runc.maxPauseSeconds if the container may stand still that long; see the node's disk first.",
  },
  PauseStuck: {
    means: "After a dump the container could not be let run on.",
    remedy:
      "Look at the container's control group (cgroup.freeze, freezer.state) on the node, or delete the pod.",
  },
  FilesUnsuitable: {
    means: "What the container has written to its root file system cannot be saved.",
    remedy: "The message names the file and why; engine kubelet may save it.",
  },
  ArchiveInvalid: {
    means: "The checkpoint archive is damaged, cut short, or not of the container that was asked for.",
    remedy: "Take a new checkpoint; check the node's disk.",
  },
  ExpressionTooSlow: {
    means: "A regular expression tries so much that it takes seconds for a small piece of memory.",
    remedy:
      "Let it begin with what is looked for, and bound what repeats: password=\\S{1,64}, not [^\\0]*password.",
  },
  ArchiveMissing: {
    means: "The checkpoint archive is no longer on its node.",
    remedy: "Take a new checkpoint; nothing else may clean the kubelet's checkpoint directory.",
  },
  RegistryUnreachable: {
    means: "The registry does not answer.",
    remedy: "Check registry.push in kcr's configuration. The archive is kept and the push tried again.",
  },
  RegistryUnauthorized: {
    means: "The registry refused the credentials.",
    remedy: "Check the Secret named in kcr's configuration: a dockerconfigjson with push rights.",
  },
  RegistryUntrusted: {
    means: "The registry's certificate is not trusted.",
    remedy: "Give its CA in registry.caFile of kcr's configuration.",
  },
  RegistryRefused: {
    means:
      "The registry refused an image or its deletion, or a Checkpoint names a place outside its namespace's.",
    remedy: "The message carries what the registry said.",
  },
  NoRegistry: {
    means: "kcr's configuration names no registry: Checkpoints are kept on their nodes only.",
    remedy: "For images, set registry.push in kcr's configuration, and store to registry or both.",
  },
  DiskPressure: {
    means: "The node's disk has too little room for another checkpoint, so the container was not touched.",
    remedy:
      "Free space where the message says, keep fewer checkpoints (a CheckpointRetention), or lower disk.reserveBytes of kcr's configuration.",
  },
  DiskFull: {
    means: "The node's disk has no room for the checkpoint, or for a copy of it.",
    remedy:
      "Free space where the message says, below the kubelet's directory or local.directory of kcr's configuration, or lower local.perContainer or local.maxBytes. A copy is tried again.",
  },
  DiskReadOnly: {
    means: "A file system of the node on which checkpoints are kept cannot be written to.",
    remedy:
      "A kernel that meets errors of a disk lets it only be read from then on: see the node's kernel log, and mount it for writing again. A copy is tried again.",
  },
  CopyMissing: {
    means: "The node has no copy of the checkpoint, and cannot get one.",
    remedy: "Where Checkpoints are kept on their nodes only, restore on the node that the Checkpoint names.",
  },
  CopyCorrupt: {
    means:
      "The node's copy of the checkpoint is damaged or gone, and there is no other to make it anew from.",
    remedy: "Take a new checkpoint; check the node's disk.",
  },
  CopyDropped: {
    means: "The copy on the node made room for newer ones.",
    remedy:
      "To keep more, raise local.perContainer or local.maxBytes of kcr's configuration, or keep them in a registry too.",
  },
  ImageForbidden: {
    means: "An admission policy keeps kcr from giving the container that image.",
    remedy:
      "ConfigMap kcr-policy in kcr-system must name registry.pull and registry.prefix of kcr's settings; other policies must let kcr's operator change images.",
  },
  ImageMissing: {
    means: "The registry no longer has the image of the checkpoint.",
    remedy:
      "The Checkpoint is passed over. Look who deletes from the registry besides kcr: its retention must leave kcr's images alone.",
  },
  ImagePullFailed: {
    means: "The node cannot pull from the registry of checkpoints.",
    remedy:
      "Check registry.pull in kcr's configuration and the runtime's registry settings on the node, and pull secrets.",
  },
  ImagePullPolicyNever: {
    means: "The container's imagePullPolicy is Never: a checkpoint image cannot be pulled for it.",
    remedy: "Use IfNotPresent.",
  },
  StrategyUnavailable: {
    means: "The pod's node cannot restore with any strategy that the schedule allows.",
    remedy: "Strategy Image needs containerd 2.1 to 2.3 or a CRI-O that restores; see the README's table.",
  },
  NoCheckpoint: {
    means: "The container failed and no good checkpoint of it exists.",
    remedy: "Nothing: it starts afresh. Shorten the schedule if this loses too much.",
  },
  CheckpointNotReady: {
    means: "The container failed while its newest checkpoint was still being pushed.",
    remedy: "Nothing: kcr waits a while for the image, and takes an older one if there is one.",
  },
  RestoreTooLate: {
    means: "The container failed, and ran on by itself for minutes before it could be restored.",
    remedy: "Nothing: what it has done since counts. The checkpoints from before are kept.",
  },
  CheckpointPoisoned: {
    means: "The container crashed again at once after each restore from this checkpoint.",
    remedy: "Nothing: an older one is tried. Look at the container's log for the cause.",
  },
  CheckpointNotFound: {
    means: "The CheckpointRestore names a Checkpoint that its namespace does not have.",
    remedy: "Name one of `kubectl get ckpt`.",
  },
  CheckpointNotGood: {
    means: "The Checkpoint that is asked for is not Restorable, or is being deleted.",
    remedy: "Name one whose RESTORABLE is True; its conditions say what is wrong with this one.",
  },
  ImageDiffers: {
    means: "The container runs another image than the one that the Checkpoint was taken of.",
    remedy: "Nothing: memory fits only the very program it is of. Restore it into a container of that image.",
  },
  SpecChanged: {
    means:
      "The process was given something else (command, environment, mounts) when the Checkpoint was taken.",
    remedy:
      "Restore it into a pod that gives the same, or set restore.onSpecChange: Restore in the schedule.",
  },
  NodeDiffers: {
    means:
      "The Checkpoint cannot be restored on that node: a machine or programs are under it that are not what it was taken on.",
    remedy:
      "Restore it on a node whose label kcr.io/fits is that of the node that it was taken on; the message names what differs.",
  },
  SaveFailed: {
    means:
      "What the container was before a restore that a person asked for could not be saved, so it was left alone.",
    remedy:
      "Look at the CheckpointRequest that the message names; discardCurrent: true restores without saving.",
  },
  MountMissing: {
    means: "The checkpoint knows a mount that the container no longer has.",
    remedy: "Give the container a volume at the path that the message names, or take a new checkpoint.",
  },
  VolumeStateDiverges: {
    means:
      "A file was open for writing on a volume whose files are not part of the checkpoint: memory and file would be of two different moments.",
    remedy:
      "Put what belongs to the memory on an emptyDir of this container alone, or say restore.volumes: Ignore in the schedule where the program can bear it.",
  },
  RootfsUnsuitable: {
    means:
      "The container's root file system is no overlay, so that a restore that fails could not be undone.",
    remedy: "Use the runtime's overlayfs snapshotter on the node.",
  },
  RestoreTooLong: {
    means: "The restore would take longer than the kubelet waits for a container to be created.",
    remedy: "Raise runtime.readMBPerSecond where the disk is faster than that, or keep less in memory.",
  },
  PlanMissing: {
    means: "The pod was to begin with a state of before, and its node was not told in time which.",
    remedy: "Look whether the node's agent runs and reaches the API server.",
  },
  TcpConnectionOpen: {
    means: "CRIU met an established TCP connection.",
    remedy:
      "Give the pod the annotation kcr.io/criu-options: tcp-close. Connections are then closed by the restore, and clients connect anew.",
  },
  UnixSocketExternal: {
    means: "The program is connected to a UNIX socket of somebody outside of its container.",
    remedy:
      "Close that connection before checkpoints. If it is of datagrams, give the pod the annotation kcr.io/criu-options: ext-unix-sk.",
  },
  FileLockHeld: {
    means: "The program holds a file lock.",
    remedy: "Give the pod the annotation kcr.io/criu-options: file-locks.",
  },
  IoUringInUse: {
    means: "The program uses io_uring, which CRIU cannot save.",
    remedy:
      "Have the program do without it; the seccompProfile RuntimeDefault in its securityContext keeps it from Node.js, which then goes without.",
  },
  DeviceInUse: {
    means: "The program holds a device open, such as a GPU.",
    remedy: "Such a container cannot be checkpointed without a plugin of CRIU's for the device.",
  },
  FileUnsupported: {
    means: "The program holds something open that CRIU cannot save.",
    remedy: "The message names its kind; have the program close it before checkpoints.",
  },
  DeletedFileTooLarge: {
    means: "The program holds a large file open that was deleted.",
    remedy:
      "Give the pod the annotation kcr.io/criu-options: ghost-limit=<size>, with a size larger than the file's.",
  },
  FileChanged: {
    means: "A file that the program had open is not what it was at the checkpoint.",
    remedy:
      "Keep what changes on its own out of what the program holds open, or on an emptyDir of this container.",
  },
  FileMissing: {
    means: "A file that the program had open is not there any more.",
    remedy: "The message names it: it is of a volume or of the image.",
  },
  CpuDiffers: {
    means: "The node's processor lacks what the program was using where it was checkpointed.",
    remedy: "Restore on nodes of the same kind, or checkpoint on the oldest of them.",
  },
  KernelTooOld: {
    means: "The node's kernel lacks what CRIU needs for this program.",
    remedy: "Update the node's kernel, or restore where the kernel is as new as at the checkpoint.",
  },
  CriuTooOld: {
    means: "The node's CRIU does not know the node's kernel.",
    remedy: "Install CRIU 4.2 or newer on the node.",
  },
  SeccompUnsupported: {
    means: "CRIU cannot set the program's seccomp filters aside.",
    remedy: "The node's kernel needs CONFIG_CHECKPOINT_RESTORE, and CRIU CAP_SYS_ADMIN.",
  },
  UserNamespaceUnsupported: {
    means: "The container has a user namespace of its own, which CRIU cannot save here.",
    remedy: "Run the pod without hostUsers: false.",
  },
  LimitsUnreadable: {
    means: "CRIU may not read or set the limits of the program, which belongs to another user.",
    remedy: "CRIU needs CAP_SYS_RESOURCE on the node; without it only programs of root can be checkpointed.",
  },
  ProcessBusy: {
    means:
      "A process of the container could not be stopped within CRIU's time, mostly for it waits for a disk.",
    remedy: "Take another checkpoint when the node is less busy.",
  },
  PidTaken: {
    means: "A number that a process had is taken in the container.",
    remedy: "Run the pod without hostPID and without a shared process namespace.",
  },
  NoMemory: {
    means: "There was not enough memory.",
    remedy: "Raise the container's memory limit: a restore needs some megabytes more than the program.",
  },
  RestoreFailed: {
    means: "No checkpoint of the container could be restored.",
    remedy: "The container runs its original image again; see the Events of its pod.",
  },
  RuntimeUnsupported: {
    means: "The node's container runtime cannot have kcr's handler: nothing was changed on it.",
    remedy:
      "Use containerd 2.0 or newer with runc, or CRI-O; pods of the node are restored by strategy Image.",
  },
  RuntimeConfigUnclear: {
    means: "The configuration of the node's container runtime is not what the installer understands.",
    remedy: "Nothing was changed on the node. Do by hand what the message says, and the installer goes on.",
  },
  RuntimeRestartUnclear: {
    means: "The installer does not know how the node's container runtime is restarted.",
    remedy:
      "Restart it by hand, or set installer.restart: signal where something starts it again when it ends.",
  },
  HandlerMissing: {
    means: "The container runtime was restarted, and the node is not Ready or does not show the handler kcr.",
    remedy:
      "Look at the runtime's log on the node. The installer waits, and touches no other node meanwhile.",
  },
  SelfTestFailed: {
    means: "A node's runtime handler did not bring back what the agent's self-test asked of it.",
    remedy:
      "The message and the node's annotation kcr.io/runtime-selftest say where it ended. Pods of class kcr go to other nodes; it is tried again.",
  },
  CheckpointLate: {
    means: "A protected container has no good checkpoint of its schedule's last slot.",
    remedy: "Look at what became of its requests: kubectl get ckptreq, and kcr describe request/NAME.",
  },
  ScheduleStalled: {
    means: "The next slot of a schedule has passed, and the operator has not acted.",
    remedy: "Look whether kcr's operator runs: kubectl -n kcr-system get pods.",
  },
  ScheduleMissing: {
    means: "A workload is annotated, and kcr has made no CheckpointSchedule of that.",
    remedy: "Look at the workload's Events, and whether kcr's operator runs: kubectl -n kcr-system get pods.",
  },
  KubeconfigUnusable: {
    means: "The kubeconfig names no cluster that could be asked.",
    remedy: "Look at kubectl config get-contexts; choose one by --context, or a file by --kubeconfig.",
  },
  ApiUnreachable: {
    means: "The API server of the cluster gave no answer.",
    remedy: "Look whether kubectl get nodes works, with the same --context and --kubeconfig.",
  },
  ApiUnauthorized: {
    means: "The API server does not take the credentials of the kubeconfig.",
    remedy: "Log in to the cluster anew, as kubectl needs it too.",
  },
  ApiForbidden: {
    means: "The account of the kubeconfig may not do this.",
    remedy:
      "Ask for the role kcr-view, kcr-operate or kcr-read-memory in that namespace; -n names another one.",
  },
  ApiNotFound: {
    means: "There is no object of that name.",
    remedy: "Look for it with kubectl get; -n names another namespace.",
  },
  ApiRefused: {
    means: "The API server did not do what it was asked, and said why.",
    remedy: "Change what its words name, or try again if another write was quicker.",
  },
  InstallIncomplete: {
    means: "kcr was applied to the cluster, and not all of it came up in time.",
    remedy:
      "Look at what it waits for: kubectl -n kcr-system get pods, and their Events. Doing it again goes on waiting.",
  },
  UninstallIncomplete: {
    means: "Not everything of kcr's could be taken away in time.",
    remedy: "Look at what the message names, and do it again: it goes on where it was.",
  },
  NotInstalled: {
    means: "The cluster does not know kcr's kinds.",
    remedy: "Install kcr (kubectl kcr install), or choose another cluster with --context.",
  },
  ArchiveUnsupported: {
    means: "The archive is well formed, but of a kind that is not read.",
    remedy:
      "Give a checkpoint archive of containerd, CRI-O or Podman: a tar, plain or compressed by gzip or zstd.",
  },
  FileUnreadable: {
    means: "A file that was named does not exist or may not be read.",
    remedy: "Check its path and its permissions.",
  },
  FileUnwritable: {
    means: "A file cannot be written where it was to go.",
    remedy: "Name another place with -o, or make room there.",
  },
  ArchiveNowhere: {
    means: "No copy of the Checkpoint's archive is anywhere that it could be downloaded from.",
    remedy:
      "If the Checkpoint is new, wait until it is Restorable; else its node is away, or its copy and its image are gone.",
  },
  DownloadUnavailable: {
    means: "The download part does not run, or does not answer.",
    remedy: "Look at the pods of namespace kcr-download; the download goes on when one is ready.",
  },
  KeyUnsuitable: {
    means: "A token cannot be sealed for the public key of a CheckpointDownload.",
    remedy: "Make a new X25519 key pair and a new CheckpointDownload.",
  },
  DownloadForbidden: {
    means: "The account of the kubeconfig may not read what is in Checkpoints.",
    remedy:
      "Ask for ClusterRole kcr-read-memory in the Checkpoint's namespace and Role kcr-read-memory in namespace kcr-download.",
  },
  DownloadEnded: {
    means: "The download part does not take the token: the CheckpointDownload has expired or was deleted.",
    remedy: "Run the command again; it goes on with what has come.",
  },
  DownloadInterrupted: {
    means: "A download was broken off.",
    remedy: "Run the same command again; it goes on with what has come.",
  },
  DownloadDamaged: {
    means: "What was downloaded is not the archive that the Checkpoint tells of.",
    remedy:
      "Run the command again; if it happens again, the copy is damaged: look at the Checkpoint's conditions.",
  },
  FileExists: {
    means: "The file that was to be written exists.",
    remedy: "Name another one, or give --force to replace it.",
  },
  KindsOutdated: {
    means: "The CustomResourceDefinitions in the cluster are of an earlier version than the operator.",
    remedy: "Apply those of the operator's version: kcr install, or kubectl apply -k config/crd.",
  },
  ProtocolUnknown: {
    means:
      "A part of kcr of a later version has left something (a plan, a record, a copy) in a form that this one does not know.",
    remedy: "Bring all parts of kcr to the later version; what was left is as it was.",
  },
  Internal: {
    means: "Something kcr did not expect.",
    remedy: "Report it with the log of the operator or agent.",
  },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** An error that a person is shown: code from the registry, and a sentence naming what was wrong. */
export class KcrError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "KcrError";
    this.code = code;
  }

  /** What was wrong, and what to do. */
  get advice(): string {
    return `${this.message}. ${ERRORS[this.code].remedy}`;
  }
}

/** Any error as a KcrError: what was not foreseen is Internal. */
export function asKcrError(error: unknown): KcrError {
  if (error instanceof KcrError) return error;
  return new KcrError("Internal", error instanceof Error ? error.message : String(error), { cause: error });
}
