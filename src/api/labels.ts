/** Labels of requests and Checkpoints. */
export const LABEL_APP = "app";
export const APP_VALUE = "checkpoint-restore";
export const LABEL_POD = "pod";
export const LABEL_POD_NAMESPACE = "pod-ns";
export const LABEL_SCHEDULE = "schedule-name";
export const LABEL_CONTAINER = "container";
export const LABEL_REQUEST = "checkpoint-request-name";

/** On a workload: the cron expression that protects it. */
export const SCHEDULE_ANNOTATION = "kcr.io/checkpoint-restore-schedule";
/** On a pod: JSON, what the operator knows of each container's runs (see records.ts). */
export const RECORD_ANNOTATION = "kcr.io/restore-record";
/** On a workload, and from there on its schedule: how many of each container's checkpoints stay, and how long. */
export const KEEP_LAST_ANNOTATION = "kcr.io/keep-last";
export const MAX_AGE_ANNOTATION = "kcr.io/max-age";
/** On a Checkpoint: the workload that its pod belonged to, as a schedule of it would be named. */
export const LABEL_WORKLOAD = "kcr.io/workload";
/** On a Checkpoint, set by a person to "true": it is no longer kept for being the last of a lost state. */
export const RELEASED_ANNOTATION = "kcr.io/released";
/** On a schedule's request: the due time of its slot, RFC 3339. */
export const SLOT_ANNOTATION = "kcr.io/slot";
/** On a request: the trace that its spans belong to, as a W3C traceparent (see trace.ts). */
export const TRACEPARENT_ANNOTATION = "kcr.io/traceparent";
/** On a pod: options of CRIU's for its checkpoints (src/store/criu-options.ts). */
export const CRIU_OPTIONS_ANNOTATION = "kcr.io/criu-options";
/** On a pod, set by Kubernetes' users: the container that commands mean by default. */
export const DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container";
/** On a Checkpoint, set by a person to "true": let it go although its registry is gone for good. */
export const ABANDON_IMAGE_ANNOTATION = "kcr.io/abandon-image";
/** On a Checkpoint, "true" set by a person who has also taken its owners away: nothing's deletion takes it along. */
export const PINNED_ANNOTATION = "kcr.io/pinned";
/** On a pod that is to begin with a state: the Checkpoint's name. Its containers wait for what restores them. */
export const RESTORE_FROM_ANNOTATION = "kcr.io/restore-from";

/** On a node, set by its agent: `ready` while the runtime handler kcr has passed its self-test there. */
export const RUNTIME_LABEL = "kcr.io/runtime";
export const RUNTIME_READY = "ready";
/** On a node, set by its agent: how that self-test went, as JSON. */
export const SELFTEST_ANNOTATION = "kcr.io/runtime-selftest";
/** On a node, set by its agent: what decides which checkpoints fit it, as JSON (see facts.ts). */
export const FACTS_ANNOTATION = "kcr.io/node-facts";
/** On a node, set by its agent: the same on nodes that the same checkpoints fit. */
export const FITS_LABEL = "kcr.io/fits";
/** On a node, set by `kcr uninstall --keep-data`: the directory with checkpoints that it left there. */
export const KEPT_ANNOTATION = "kcr.io/kept-data";
/** On a node, set by its agent: the copies there of Checkpoints that were taken elsewhere (see fetched.ts). */
export const FETCHED_ANNOTATION = "kcr.io/fetched-copies";
/** On a node, set by its agent while a file system of checkpoints has less free than the reserve (see disk.ts). */
export const PRESSURE_ANNOTATION = "kcr.io/disk-pressure";
