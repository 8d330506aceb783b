import { type Facts, majorMinor, namesIn } from "./facts.ts";

/** Where a checkpoint and a node do not agree, or may not. */
export interface Misfit {
  /** What it is about, for people. */
  fact: string;
  /**
   * `differs`: it cannot be restored there, or must not be. `doubtful`: it mostly can; CRIU fails where it cannot.
   * `unknown`: one of both does not say.
   */
  verdict: "differs" | "doubtful" | "unknown";
  /** What the checkpoint needs, and what the node has; undefined: not known. */
  checkpoint: string | undefined;
  node: string | undefined;
}

/** How one fact is judged; undefined: it fits. */
type Rule = (checkpoint: Facts, node: Facts) => Misfit | undefined;

type Values = Pick<Misfit, "checkpoint" | "node">;

/** A rule of two values of which both have to be known. */
function rule<T>(
  fact: string,
  of: (facts: Facts) => T | undefined,
  judge: (checkpoint: T, node: T) => (Values & { verdict: Misfit["verdict"] }) | undefined,
  text: (value: T) => string = String,
): Rule {
  return (checkpoint, node) => {
    const [theirs, own] = [of(checkpoint), of(node)];
    if (theirs !== undefined && own !== undefined) {
      const judged = judge(theirs, own);
      return judged && { fact, ...judged };
    }
    const said = (value: T | undefined) => (value === undefined ? undefined : text(value));
    return { fact, verdict: "unknown", checkpoint: said(theirs), node: said(own) };
  };
}

const equal = (fact: string, of: (facts: Facts) => string | number | undefined): Rule =>
  rule(fact, of, (checkpoint, node) =>
    checkpoint === node
      ? undefined
      : { verdict: "differs", checkpoint: String(checkpoint), node: String(node) },
  );

/** A version, by major and minor number, that may be newer on the node and not older. */
const notOlder = (
  fact: string,
  of: (facts: Facts) => string | undefined,
  verdict: "differs" | "doubtful",
): Rule =>
  rule(
    fact,
    (facts) => {
      const [text, parsed] = [of(facts), majorMinor(of(facts))];
      return text === undefined || parsed === undefined ? undefined : { text, parsed };
    },
    (checkpoint, node) => {
      const [major, minor] = [node.parsed[0] - checkpoint.parsed[0], node.parsed[1] - checkpoint.parsed[1]];
      if (major > 0 || (major === 0 && minor >= 0)) return undefined;
      return { verdict, checkpoint: checkpoint.text, node: node.text };
    },
    ({ text }) => text,
  );

/**
 * CRIU's images are of one architecture: registers, signal frames and the code that is put into the process
 * (images/core.proto, `march`).
 */
const architecture = equal("architecture", (facts) => facts.architecture);

/** Memory is saved, and mapped again, in whole pages of the dumping kernel (criu/pagemap.c, PAGE_SIZE). */
const pageSize = equal("page size", (facts) => facts.pageSize);

/**
 * A program may have chosen its code by what the processor had when it began. CRIU's `--cpu-cap=ins`: the node may
 * have more, and not less (criu/arch/x86/cpu.c, cpu_validate_ins_features). runc has CRIU write no cpuinfo.img, so
 * that CRIU itself does not look.
 */
const cpuFeatures = rule(
  "CPU features",
  (facts) => facts.cpuFeatures,
  (checkpoint, node) => {
    const has = new Set(namesIn(node));
    const lacking = namesIn(checkpoint).filter((feature) => !has.has(feature));
    return lacking.length === 0
      ? undefined
      : { verdict: "differs", checkpoint: lacking.join(" "), node: "none of these" };
  },
);

/**
 * CRIU's `--cpu-cap=fpu`: the node saves every state that the checkpoint's processor saved, and its frames are just
 * as large, for a C library that has asked once how large they are writes past the end of what it has set aside
 * (criu/arch/x86/cpu.c, cpu_validate_features). Only amd64 has them.
 */
const xsave: Rule = (checkpoint, node) => {
  const isOther = ({ architecture }: Facts) => architecture !== undefined && architecture !== "amd64";
  if (isOther(checkpoint) || isOther(node)) return undefined;
  const text = ({ features, size, maxSize }: NonNullable<Facts["xsave"]>) =>
    `${features}, ${size} of ${maxSize} bytes`;
  return rule(
    "xsave states",
    (facts) => facts.xsave,
    (theirs, own) =>
      (BigInt(theirs.features) & ~BigInt(own.features)) === 0n &&
      theirs.size === own.size &&
      theirs.maxSize === own.maxSize
        ? undefined
        : { verdict: "differs", checkpoint: text(theirs), node: text(own) },
    text,
  )(checkpoint, node);
};

/**
 * CRIU reads what older ones have written, and an older one does not know what newer ones write: with 4.2 the count
 * of a memory area's pages became another field (images/pagemap.proto), which 4.1 reads as 0
 * (checkpoint-restore/criu#2847). Patch releases have left images/*.proto alone, so they do not count.
 */
const criu = notOlder("CRIU", (facts) => facts.criu, "differs");

/** Archives do not cross engines: each writes metadata and changed files in a way of its own. */
const engine = equal("container runtime", (facts) => facts.engine);

/** What is outside of the container has names in CRIU's images that the OCI runtime gives (`external`). */
const runtime = equal("OCI runtime", (facts) => facts.runtime);

/**
 * With v1 a container has a mount for each controller, with v2 one for all: CRIU looks for the mounts of the dump in
 * the new container and fails over what is not there (criu/mount.c; containers/crun#541).
 */
const cgroup = equal("cgroup version", (facts) => facts.cgroup);

/**
 * CRIU compares no kernels, and is made to be used across them: `--weak-sysctls` "allows to restore on an older
 * kernel", and what the kernel lacks it says when it meets it (KernelTooOld). A program that knows already what the
 * newer one could do may meet it later. So an older one is told, and keeps nothing away.
 */
const kernel = notOlder("kernel", (facts) => facts.kernel, "doubtful");

const RULES: readonly Rule[] = [
  architecture,
  pageSize,
  cpuFeatures,
  xsave,
  criu,
  engine,
  runtime,
  cgroup,
  kernel,
];

/**
 * What speaks against restoring a checkpoint on a node; nothing: it fits. Of which nothing is known, everything is
 * `unknown`: that keeps nothing away, for it was restored before anybody asked.
 */
export const whyNotHere = (checkpoint: Facts = {}, node: Facts = {}): Misfit[] =>
  RULES.flatMap((judge) => judge(checkpoint, node) ?? []);

/** What keeps a checkpoint away from a node. */
export const differencesIn = (misfits: readonly Misfit[]): Misfit[] =>
  misfits.filter(({ verdict }) => verdict === "differs");

/** "CRIU (4.2.1 at the checkpoint, 4.1 on the node), page size (...)". */
export const describeMisfits = (misfits: readonly Misfit[]): string =>
  misfits
    .map(
      ({ fact, checkpoint = "not known", node = "not known" }) =>
        `${fact} (${checkpoint} at the checkpoint, ${node} on the node)`,
    )
    .join(", ");

/** What is to be said of a restore that is tried all the same; undefined: nothing. */
export function describeDoubts(misfits: readonly Misfit[]): string | undefined {
  const doubtful = describeMisfits(misfits.filter(({ verdict }) => verdict === "doubtful"));
  const unknown = misfits.filter(({ verdict }) => verdict === "unknown").map(({ fact }) => fact);
  const parts = [
    ...(doubtful === "" ? [] : [`it may fail over ${doubtful}`]),
    ...(unknown.length === 0 ? [] : [`not known of checkpoint or node: ${unknown.join(", ")}`]),
  ];
  return parts.length === 0 ? undefined : parts.join("; ");
}
