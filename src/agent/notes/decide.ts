import { ERRORS } from "../../api/errors.ts";
import type { CheckpointRestore } from "../../api/restore.ts";
import type { Failure, Note } from "../../store/notes.ts";

/** What people are told of a container, on its pod and, unless it is of no weight, on its workload. */
export interface Message {
  type: "Normal" | "Warning";
  reason: "Restored" | "StartedFresh" | "RestoreFailed" | "RestoreRefused";
  text: string;
  onWorkload: boolean;
}

/** Status, reason and message of a condition. */
export interface Verdict {
  status: "True" | "False";
  reason: string;
  message: string;
}

/** What the handler did at one `create`, in words; nothing where nobody wanted a restore. */
export function messagesOf(note: Note): Message[] {
  if (note.type === "fresh" && note.reason === "NotWanted") return [];
  return [...note.failed.map((failure) => failedMessage(note, failure)), outcome(note)];
}

/** How the last restore went, for the pod's condition. */
export function verdictOf(note: Note): Verdict | undefined {
  if (note.type === "fresh" && note.reason === "NotWanted") return undefined;
  const { reason, text } = outcome(note);
  return { status: note.type === "restored" ? "True" : "False", reason, message: text };
}

/** How the restore went that a person asked for. */
export function answerTo({ spec }: CheckpointRestore, note: Note): Verdict {
  const message = outcome(note).text;
  switch (note.type) {
    case "restored": {
      if (note.checkpoint === spec.checkpointName) return { status: "True", reason: "Restored", message };
      const why = note.failed.find(({ checkpoint }) => checkpoint === spec.checkpointName);
      return {
        status: "False",
        reason: why?.code ?? "RestoreFailed",
        message: why === undefined ? message : `${why.message}; ${message}`,
      };
    }
    case "fresh":
    case "refused":
      return { status: "False", reason: note.reason, message };
    default:
      return note satisfies never;
  }
}

function outcome(note: Note): Message {
  const container = `container ${note.container} (${note.cause})`;
  switch (note.type) {
    case "restored":
      return {
        type: "Normal",
        reason: "Restored",
        text: `${container} runs again from Checkpoint ${note.checkpoint}: its state is ${age(note.ageMs)} old`,
        onWorkload: true,
      };
    case "fresh":
      return {
        type: note.lost ? "Warning" : "Normal",
        reason: "StartedFresh",
        text: `${container} started afresh${note.lost ? " and has lost its state" : ""}: ${note.message}`,
        onWorkload: note.reason !== "CleanExit",
      };
    case "refused":
      return {
        type: "Warning",
        reason: "RestoreRefused",
        text: `${container} is not started, for its state would be lost: ${note.message}`,
        onWorkload: true,
      };
    default:
      return note satisfies never;
  }
}

function failedMessage({ container }: Note, { checkpoint, code, message }: Failure): Message {
  const remedy = code in ERRORS ? ` ${ERRORS[code as keyof typeof ERRORS].remedy}` : "";
  return {
    type: "Warning",
    reason: "RestoreFailed",
    text: `container ${container} could not be restored from Checkpoint ${checkpoint}: ${code}: ${message}.${remedy}`,
    onWorkload: true,
  };
}

const age = (ms: number): string => `${Math.max(0, Math.round(ms / 1000))} s`;
