import { ImageNameError, parseReference, type Reference } from "../../oci/reference.ts";

/** The tag of a reference that has none of its own and must differ: beside a digest it means nothing. */
const TAG = "restored";
const DIGEST = /sha256:[0-9a-f]{64}$/;

/** The digest in a `containerStatuses[].imageID` (`repo@sha256:...`, `sha256:...`) or a reference. */
export const digestIn = (image: string | undefined): string | undefined => DIGEST.exec(image ?? "")?.[0];

/**
 * Another text for the image that a container runs already, by digest: a kubelet restarts a container whose
 * image's text changed, and finds the same image on its node. `imageID` is `containerStatuses[].imageID`.
 *
 * Forms, of which the first that differs from `image` is taken: `repo:tag@digest`, `repo@digest`,
 * `repo:restored@digest`. The repository is as `image` has it where `imageID` is of the same one: that is what
 * the node pulled. Undefined where the runtime knows the image by no repository's digest.
 */
export function equalReference(image: string, imageID: string | undefined): string | undefined {
  const known = parse(imageID ?? "");
  if (known?.digest === undefined || imageID?.startsWith("sha256:")) return undefined;
  const named = parse(image);
  const isSame = named?.registry === known.registry && named.repository === known.repository;
  const repository = isSame ? repositoryOf(image) : `${known.registry}/${known.repository}`;
  const tags = [named?.tag, undefined, TAG].map((tag) => (tag === undefined ? "" : `:${tag}`));
  return [...tags.slice(named?.tag === undefined ? 1 : 0)]
    .map((tag) => `${repository}${tag}@${known.digest}`)
    .find((form) => form !== image);
}

/** As it is written: without tag and digest. */
const repositoryOf = (image: string): string => (image.split("@")[0] ?? "").replace(/:[^:/]*$/, "");

function parse(text: string): Reference | undefined {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof ImageNameError) return undefined;
    throw error;
  }
}
