/** API group, version and the prefix of every annotation and label that kcr adds. */
export const GROUP = "checkpoint-restore.kcr.io";
export const VERSION = "v1";
export const API_VERSION = `${GROUP}/${VERSION}`;

/** Field manager of kcr's server-side applies, and reporting controller of its Events. */
export const FIELD_MANAGER = "kcr";
