import type { Paint } from "../output/colour.ts";

/** A line, already safe, and what hangs below it. */
export interface Branch {
  text: string;
  below?: readonly Branch[];
}

/** Lines of a tree. It may be of any depth. */
export function treeLines(roots: readonly Branch[], paint: Paint): string[] {
  const lines: string[] = [];
  interface Pending {
    branch: Branch;
    /** Before the line's own mark, and before those below it. */
    lead: string;
    isLast: boolean;
    isRoot: boolean;
  }
  const pending = (branches: readonly Branch[], lead: string, isRoot: boolean): Pending[] =>
    branches.map((branch, i) => ({ branch, lead, isLast: i === branches.length - 1, isRoot })).reverse();
  const left = pending(roots, "", true);
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { branch, lead, isLast, isRoot } = next;
    lines.push(isRoot ? branch.text : `${paint("dim", `${lead}${isLast ? "└─ " : "├─ "}`)}${branch.text}`);
    const deeper = isRoot ? "" : `${lead}${isLast ? "   " : "│  "}`;
    // Deeper than any screen is wide, depth is not shown by more blanks.
    for (const one of pending(branch.below ?? [], deeper.slice(0, 240), false)) left.push(one);
  }
  return lines;
}
