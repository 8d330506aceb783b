import { handlerOf } from "../../api/pod.ts";
import type { Cache } from "../../kube/cache.ts";
import { controllerOf } from "../../kube/owner.ts";
import type { Pod } from "../../kube/resources.ts";
import type { Waiting } from "./decide.ts";

/** By then a pod has been seen, or was refused by someone else. */
const FORGET_MS = 5000;

/**
 * Pods that were given the class a moment ago and that the cache does not show yet: of ten replicas made at once, each
 * would else be given the same room.
 *
 * Caveats: each replica of the operator knows its own promises only.
 */
export class Promised {
  #promises: { owner: string; until: number; pod: Waiting }[] = [];

  /** Forgets one promise with each pod of the class that appears. The returned function ends that. */
  follow(pods: Cache<Pod>): () => void {
    return pods.subscribe(({ type, object, previous }) => {
      if (type !== "apply" || previous !== undefined || handlerOf(object) === undefined) return;
      const n = this.#promises.findIndex(({ owner }) => owner === ownerOf(object));
      if (n >= 0) this.#promises.splice(n, 1);
    });
  }

  add(pod: Pod, spec: Waiting["spec"]): void {
    this.#promises.push({ owner: ownerOf(pod), until: performance.now() + FORGET_MS, pod: { spec } });
  }

  list(): Waiting[] {
    const now = performance.now();
    this.#promises = this.#promises.filter(({ until }) => until > now);
    return this.#promises.map(({ pod }) => pod);
  }
}

const ownerOf = (pod: Pod): string => controllerOf(pod)?.uid ?? "";
