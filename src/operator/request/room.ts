import type { CheckpointRequest } from "../../api/request.ts";

/** How many dumps may be under way in the cluster at once, and how many are. */
export class Room {
  readonly #limit: number;
  /** UIDs of requests accepted by this process that are not yet seen so. */
  #accepted = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether one more may be accepted, given the requests that have not ended. */
  has(live: readonly CheckpointRequest[]): boolean {
    const unseen = new Set<string>();
    let underWay = 0;
    for (const request of live) {
      const uid = request.metadata.uid ?? "";
      if (request.status?.nodeName !== undefined) underWay++;
      else if (this.#accepted.has(uid)) unseen.add(uid);
    }
    this.#accepted = unseen;
    return underWay + unseen.size < this.#limit;
  }

  accepted(request: CheckpointRequest): void {
    this.#accepted.add(request.metadata.uid ?? "");
  }
}
