import { ImageNameError, parseReference, type Reference } from "../../oci/reference.ts";
import { UsageError } from "../errors.ts";

/** The tag that tools give to an image that is named without one. */
const DEFAULT_TAG = "latest";

/** Reads the name that a new image is to have. Errors: `UsageError`. */
export function newImageName(text: string): Reference & { tag: string } {
  const reference = parsed(text);
  if (reference.digest !== undefined) {
    throw new UsageError(`${text}: an image gets its digest by being made; name it by a tag`);
  }
  return { ...reference, tag: reference.tag ?? DEFAULT_TAG };
}

function parsed(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof ImageNameError) throw new UsageError(error.message);
    throw error;
  }
}
