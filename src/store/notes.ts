import { isKnown } from "./protocol.ts";

/** What the handler has done at one `create`: a file `notes/<milliseconds>-<container ID>.json`. */
export type Note = NoteHead &
  (
    | {
        type: "restored";
        checkpoint: string;
        checkpointUID: string;
        /** Age of the restored state, and how long the whole `create` took, in milliseconds. */
        ageMs: number;
        tookMs: number;
        /** UID of the CheckpointRestore that asked for it, if one did. */
        armed?: string;
        /** Candidates that were tried in vain before. */
        failed: Failure[];
      }
    | {
        /** The original image was run. */
        type: "fresh";
        /** `CleanExit`, `NoCheckpoint`, or the code of the last failure. */
        reason: string;
        message: string;
        /** Whether state was lost by it. */
        lost: boolean;
        armed?: string;
        failed: Failure[];
      }
    /** Nothing could be restored and the fallback is Fail: the container was not created. */
    | { type: "refused"; reason: string; message: string; armed?: string; failed: Failure[] }
  );

export interface NoteHead {
  version: number;
  podUID: string;
  namespace: string;
  pod: string;
  container: string;
  containerID: string;
  /** RFC 3339. */
  time: string;
  /** Why the run before ended, in words: `exit code 137`, `ended by the kubelet`, `sandbox lost`, `not known`. */
  cause: string;
}

/** Why one candidate was not restored. */
export interface Failure {
  checkpoint: string;
  checkpointUID: string;
  /** One of kcr's error codes (src/api/errors.ts). */
  code: string;
  message: string;
  /** It crashed again and again: a person decides about it, no restore tries it by itself. */
  poisoned: boolean;
  /** The copy is damaged: it was marked so, and has to be made anew. */
  corrupt: boolean;
}

/** The protocol that this code writes (protocol.ts). */
export const NOTE_VERSION = 1;

/** Why the runtime did not checkpoint a container, by CRIU's own log, which is gone when its caller hears of it. */
export interface Undumped {
  version: number;
  containerID: string;
  /** RFC 3339. */
  time: string;
  /** Errors of CRIU's log, oldest first; at least one. */
  errors: string[];
}

export function parseUndumped(text: string): Undumped | undefined {
  let value: Partial<Undumped> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !isKnown(value, NOTE_VERSION)) return undefined;
  const { containerID, time, errors } = value;
  const isWhole =
    typeof containerID === "string" &&
    typeof time === "string" &&
    Number.isFinite(Date.parse(time)) &&
    Array.isArray(errors) &&
    errors.length > 0 &&
    errors.every((line) => typeof line === "string");
  return isWhole ? (value as Undumped) : undefined;
}

export function parseNote(text: string): Note | undefined {
  try {
    const value = JSON.parse(text) as Partial<Note> | null;
    if (typeof value !== "object" || value === null || !isKnown(value, NOTE_VERSION)) return undefined;
    const isType = value.type === "restored" || value.type === "fresh" || value.type === "refused";
    return isType && Array.isArray(value.failed) ? (value as Note) : undefined;
  } catch {
    return undefined;
  }
}
