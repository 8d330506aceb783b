import type { Source } from "../../kube/controller.ts";
import type { Logger } from "../../kube/log.ts";
import { isPodUID, type Layout } from "../../store/layout.ts";
import { watchTree } from "./watch-tree.ts";

/** What happens to containers, as the handler writes it down: names pods by their UID. */
export function runChanges(layout: Layout, log: Logger): Source {
  // runs/<pod UID>/<container>/notes/<note>
  return treeChanges(layout.runs, 3, log, ([uid]) => (isPodUID(uid) ? [uid] : []));
}

/** Plans that are there: of pods that are gone, too. Names pods by their UID. */
export function planChanges(layout: Layout, log: Logger): Source {
  return treeChanges(layout.plans, 0, log, ([uid]) => (isPodUID(uid) ? [uid] : []));
}

/** A copy came, went, or was marked as damaged: names the pods of `affected`. */
export function copyChanges(layout: Layout, log: Logger, affected: () => string[]): Source {
  return treeChanges(layout.copies, 1, log, affected);
}

function treeChanges(
  root: string,
  depth: number,
  log: Logger,
  names: (path: readonly string[]) => string[],
): Source {
  return {
    subscribe(enqueue) {
      const watched = watchTree(
        root,
        depth,
        (path) => {
          for (const name of names(path)) enqueue({ name });
        },
        log,
      );
      return () => watched[Symbol.dispose]();
    },
    async waitForSync() {},
  };
}
