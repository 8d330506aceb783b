import type { Checkpoint } from "../../api/checkpoint.ts";
import { workloadOf } from "../../retention/facts.ts";
import type { Grouping } from "./groupings.ts";

/** What Checkpoints take. Equal parts of two count twice: what a disk holds may be less. */
export interface Usage {
  /** What it is of: `shop/redis`, `shop`, `worker-1`, `registry.example:5000/kcr/shop/checkpoint-redis-app`. */
  of: string;
  checkpoints: number;
  /** Of their archives, once each. */
  bytes: number;
  onNodes: number;
  inRegistry: number;
  /** Those being deleted, of which bytes may still lie somewhere. */
  going: number;
}

/** What Checkpoints take, the most first. */
export function usageOf(all: readonly Checkpoint[], by: Grouping): Usage[] {
  const usages = new Map<string, Usage>();
  const at = (of: string): Usage => {
    const usage = usages.get(of) ?? { of, checkpoints: 0, bytes: 0, onNodes: 0, inRegistry: 0, going: 0 };
    usages.set(of, usage);
    return usage;
  };
  for (const checkpoint of all) {
    const { metadata, status } = checkpoint;
    const bytes = status?.sizeBytes ?? 0;
    const places = status?.copies ?? [];
    // Until there is a copy that it tells of, its archive lies on its node.
    const nodes = places.flatMap(({ kind, node }) => (kind === "Node" && node !== undefined ? [node] : []));
    const lies = places.length === 0 ? [checkpoint.spec.nodeName] : nodes;
    const isPushed = places.some(({ kind }) => kind === "Registry");
    const add = (of: string, onNodes: number, inRegistry: number): void => {
      const usage = at(of);
      usage.checkpoints += 1;
      usage.bytes += bytes;
      usage.onNodes += onNodes * bytes;
      usage.inRegistry += inRegistry * bytes;
      if (metadata.deletionTimestamp !== undefined) usage.going += 1;
    };
    switch (by) {
      case "workload":
        add(`${metadata.namespace}/${workloadOf(checkpoint)}`, lies.length, Number(isPushed));
        break;
      case "namespace":
        add(metadata.namespace ?? "", lies.length, Number(isPushed));
        break;
      case "node":
        for (const node of lies) add(node, 1, 0);
        break;
      case "registry":
        if (isPushed) add(repositoryOf(checkpoint), 0, 1);
        break;
      default:
        by satisfies never;
    }
  }
  return [...usages.values()].sort((a, b) => b.bytes - a.bytes || (a.of < b.of ? -1 : 1));
}

/** The image's reference less its digest. */
const repositoryOf = ({ status }: Checkpoint): string =>
  status?.runtimeImage?.replace(/@.*$/, "") ?? status?.checkpointImage ?? "";
