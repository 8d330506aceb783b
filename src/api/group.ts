/** API group, version and the prefix of every annotation and label that kcr adds. */
export const GROUP = "checkpoint-restore.kcr.io";
export const VERSION = "v1";
export const API_VERSION = `${GROUP}/${VERSION}`;

/**
 * On each CustomResourceDefinition: its protocol, an integer; without it: 1. It grows when programs begin to need a kind
 * or a field more, for an API server drops fields that it does not know.
 */
export const KINDS_ANNOTATION = "kcr.io/kinds-protocol";
/** 2: where a checkpoint fits (Checkpoint `status.environment`), CheckpointDownload. 3: CheckpointRetention, of the cluster too. */
export const KINDS_VERSION = 3;

/** Field manager of kcr's server-side applies, and reporting controller of its Events. */
export const FIELD_MANAGER = "kcr";
