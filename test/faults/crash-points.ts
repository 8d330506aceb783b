/** What a program writes at one place of its code: `<file> <function>: <what>` (mortal.ts), and which step that is. */
export type CrashPoints = Readonly<Record<string, string>>;

/**
 * Every write of the operator on the way from an annotation to a checkpoint, to a restore, and to the end of all of it.
 * Before and after each of them it is killed.
 */
export const OPERATOR_CRASH_POINTS: CrashPoints = {
  "operator/operator run: create leases": "it leads, for the first time",
  "operator/operator run: replace leases": "it leads on, or gives the lead back",
  "operator/node/controller ensure: create clusterroles": "a node's account has its right",
  "operator/node/controller ensure: create clusterrolebindings": "the right is the account's",
  "operator/node/controller ensure: create serviceaccounts": "the node has its account",
  "operator/webhook/rotation reconcile: patch secrets": "the webhook has its certificates",
  "operator/webhook/rotation reconcile: patch mutatingwebhookconfigurations": "API servers trust them",

  "operator/workload/controller reconcile: create checkpointschedules": "a workload that is annotated",
  "operator/workload/controller reconcile: patch checkpointschedules": "its annotation has changed",
  "operator/workload/controller reconcile: delete checkpointschedules": "its annotation has gone",
  "operator/workload/controller say: patch deployments/status": "the workload says that it is protected",
  "operator/strategy/controller reconcilePod: patch pods/status": "a pod says which way it is restored",
  "operator/strategy/controller reconcileSchedule: patch checkpointschedules/status": "a schedule says it",
  "operator/schedule/controller writeIfChanged: patch checkpointschedules/status": "when it is due",
  "operator/schedule/requests ensureRequest: create checkpointrequests": "a slot's request is made",
  "operator/schedule/controller writeIfChanged: patch checkpointschedules/status slot": "the slot is decided",
  "operator/request/controller sayWaiting: patch checkpointrequests/status Pending": "a request waits",
  "operator/request/controller look: patch checkpointrequests/status Pending": "an agent has it",
  "operator/request/controller look: patch checkpointrequests/status Failed": "it is refused",

  "operator/restore/controller writePod: patch pods": "a run is noted as what counts",
  "operator/restore/pull-probe pushProbeImage: POST registry blobs/uploads": "the probe's image is begun",
  "operator/restore/pull-probe pushProbeImage: PATCH registry blobs/uploads": "its layers are sent",
  "operator/restore/pull-probe pushProbeImage: PUT registry blobs/uploads": "its layers are whole",
  "operator/restore/pull-probe pushProbeImage: PUT registry manifests": "it is there",
  "operator/restore/pull-probe #probe: create pods": "a node is asked whether it can pull",
  "operator/restore/pull-probe remove: delete pods": "it has answered",
  "operator/restore/missing-image tellMissing: patch checkpoints/status": "one has lost its image",
  "operator/restore/controller say: patch pods/status": "a pod says how its restore goes",
  "operator/restore/controller writePod: patch pods image": "a container gets a Checkpoint's image",
  "operator/restore/controller countRestore: patch checkpoints/status": "the restore is counted",

  "operator/demand/controller write: patch checkpointrestores/status SavingCurrent":
    "what is, is saved first",
  "operator/demand/controller act: create checkpointrequests": "by a request",
  "operator/demand/controller write: patch checkpointrestores/status Restoring": "its node arms it",
  "operator/demand/controller rewrite: patch pods image": "the kubelet restarts the container",
  "operator/demand/controller write: patch checkpointrestores/status Completed": "it has been restored",
  "operator/demand/controller write: patch checkpointrestores/status Failed": "it cannot be",

  "operator/download/controller tell: patch checkpointdownloads/status Pending": "nobody gives bytes out yet",
  "operator/download/controller tell: patch checkpointdownloads/status Failed":
    "there is nothing to give out",
  "operator/download/controller write: patch checkpointdownloads/status Ready": "a token is offered",
  "operator/download/controller reconcile: delete checkpointdownloads": "its time is over",

  "operator/checkpoint/places-controller reconcile: patch checkpoints/status": "another node has a copy",
  "operator/report/controller reconcile: patch checkpoints/status": "another node has restored from it",
  "operator/checkpoint/controller reconcile: patch checkpoints/status Failed":
    "its node is gone, and its archive",
  "operator/checkpoint/controller deleteImage: DELETE registry manifests": "its image goes",
  "operator/checkpoint/controller reconcile: patch checkpoints finalizers: 1 left":
    "its archive counts as gone",
  "operator/checkpoint/controller reconcile: patch checkpoints finalizers: 0 left": "the object goes",

  "operator/retention/controller write: patch checkpoints/status": "a state has been lost",
  "operator/retention/controller tell: patch checkpointretentions/status": "a policy tells what goes",
  "operator/retention/controller tell: patch clustercheckpointretentions/status": "one of the cluster does",
  "operator/retention/controller erase: delete checkpoints": "what no policy keeps goes",
  "operator/retention/controller erase: delete checkpointrequests": "and requests that nobody needs",
  "operator/retention/controller letGo: patch checkpoints": "a Checkpoint is to outlive its workload",

  "kube/events #write: create events": "an Event is written",
};

/** The same of the agent: to the API server, its kubelet, the registry and the directories of its node. */
export const AGENT_CRASH_POINTS: CrashPoints = {
  "agent/store/store wasCleanlyStopped: unlink kcr/store/clean": "it runs: from now on it may be killed",
  "agent/store/disk leaveMark: open kcr/store/clean": "it ended as it should",
  "agent/facts/controller reconcile: patch nodes": "what fits the node",
  "agent/disk/controller reconcile: patch nodes": "whether its disk has room",

  "agent/dump/controller begin: patch checkpointrequests/status InProgress": "what is captured is recorded",
  "agent/dump/begun noteBegun: open kcr/begun/.*.json.half": "so it is on the node",
  "agent/dump/begun noteBegun: rename kcr/begun/.*.json.half -> kcr/begun/*.json": "whole",
  "agent/dump/through-handler writeOptions: open kcr/plans/*/.app.criu.half": "the handler is told how",
  "agent/dump/through-handler writeOptions: rename kcr/plans/*/.app.criu.half -> kcr/plans/*/app.criu":
    "whole",
  "agent/token/token #request: create serviceaccounts/token": "the kubelet is shown a token",
  "agent/kubelet checkpoint: POST kubelet checkpoint": "the kubelet dumps",
  "agent/image/ahead send: POST registry blobs/uploads": "the archive is sent while it is being written",
  "agent/dump/controller create: create checkpoints": "the archive has its Checkpoint",
  "agent/dump/controller describe: patch checkpoints/status Created": "which says whose state it is",
  "agent/dump/controller settle: patch checkpointrequests/status Completed": "the request is answered",
  "agent/dump/controller settle: patch checkpointrequests/status": "one that was given up is answered late",
  "agent/dump/controller fail: patch checkpointrequests/status Failed": "it cannot be answered",
  "agent/dump/begun forgetBegun: rm kcr/begun/*.json": "the node need not know of the dump any more",

  "agent/image/controller pushNow: patch checkpoints/status Processing": "the image is being made",
  "agent/image/controller pushImage: POST registry blobs/uploads": "a blob is begun",
  "agent/image/controller pushImage: PATCH registry blobs/uploads": "sent",
  "agent/image/controller pushImage: PUT registry blobs/uploads": "and whole",
  "agent/image/controller pushImage: PUT registry manifests": "the image is there",
  "agent/image/controller writePushed: patch checkpoints/status ImageBuilt": "the Checkpoint says so",
  "agent/image/controller fail: patch checkpoints/status Failed": "there will be no image",
  "agent/archives remove: unlink checkpoints/*.tar": "the archive goes",
  "agent/image/controller release: patch checkpoints finalizers: 1 left":
    "the node has nothing of it any more",

  "agent/store/disk open: open kcr/store/tmp/*/**": "the copy is being made",
  "agent/store/share-pages #link: link kcr/store/copies/*/** -> kcr/store/tmp/*/**":
    "its memory may be much that of the copy before",
  "agent/store/share-pages take: rename kcr/store/tmp/*/** -> kcr/store/tmp/*/**": "it is",
  "agent/store/share-pages take: unlink kcr/store/tmp/*/**": "no page of it is",
  "agent/store/share-pages finish: rm kcr/store/tmp/*/**": "there is nothing to share",
  "agent/store/store #settle: link kcr/store/tmp/*/** -> kcr/store/blobs/*": "its files can be shared",
  "agent/store/store #settle: link kcr/store/blobs/* -> kcr/store/tmp/*": "it shares another's",
  "agent/store/store #settle: rename kcr/store/tmp/* -> kcr/store/tmp/*/**": "in place of its own",
  "agent/store/store #publish: rename kcr/store/tmp/* -> kcr/store/copies/*": "the copy is there",
  "agent/store/controller write: patch checkpoints/status":
    "the Checkpoint tells of its copy, or why it has none",
  "agent/store/store #moveAway: rename kcr/store/copies/* -> kcr/store/tmp/*": "a copy goes",
  "agent/store/store #discard: rm kcr/store/tmp/*": "with its files",
  "agent/store/store #dropUnused: unlink kcr/store/blobs/*": "and with what nobody shares",
  "agent/store/fetched-controller reconcile: patch nodes": "the node has a copy of another's Checkpoint",
  "agent/image/controller remove: patch checkpoints finalizers: 1 left":
    "of a Checkpoint that goes, all has gone",

  "agent/plan/controller reconcile: open kcr/plans/*/.app.json.half": "a plan is being written",
  "agent/plan/controller reconcile: rename kcr/plans/*/.app.json.half -> kcr/plans/*/app.json": "it is there",
  "agent/plan/controller reconcile: rm kcr/plans/*/app.json": "nothing is to be restored any more",
  "agent/plan/controller tellArmed: patch checkpointrestores/status": "a restore is armed",
  "agent/plan/arm reconcile: patch checkpointrestores/status": "it cannot be",
  "agent/plan/controller forget: rm kcr/plans/*": "a pod is gone, and its plans",
  "agent/plan/controller forget: rm kcr/runs/*": "and what the handler remembers of it",

  "agent/notes/controller countRestore: patch checkpoints/status": "the handler has restored",
  "agent/notes/controller poison: patch checkpoints/status": "but not from this one",
  "agent/notes/controller patchCondition: patch pods/status": "the pod says so",
  "agent/notes/controller answer: patch checkpointrestores/status": "whoever asked for it is told",
  "agent/notes/event tellOnce: create events": "and whoever looks",
  "agent/notes/controller reconcile: rm kcr/runs/*/app/notes/*": "the note is taken in",

  "kube/events #write: create events": "an Event is written",
};

/** What is met only where a kill, or its moment, has left something to be gone on with or cleared away. */
export const OCCASIONAL: readonly RegExp[] = [
  /^agent\/image\/ahead send: (PATCH|PUT) registry blobs\/uploads$/,
  /: rm \S+\/\.\S+\.half$/,
  /^agent\/store\/store start: rm kcr\/store\/tmp\/\*$/,
  // A copy that was made already takes the place of itself.
  /^agent\/store\/store #publish: rm kcr\/store\/tmp\/\*$/,
  /^agent\/plan\/controller removePlans: rm /,
  /^(agent|operator|kube)\/\S+ \S+: patch events/,
];

/** What writes besides, and what becomes of it when it is killed. */
export const BESIDE: Readonly<Record<string, string>> = {
  "operator/certificates/controller":
    "each certificate is asked for anew; an authority is applied by its name",
  "agent/selftest/controller": "goes on with the pod that there is: selftest.integration.test.ts",
  "agent/transfer/": "what came of a copy stays: transfer.integration.test.ts",
  "agent/dump/engine-runc": "a direct dump is killed at each of its steps: engine-runc.test.ts",
};
