/** Random numbers that a seed makes again (xorshift32): a failing case is found by its seed and number alone. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Small seeds would begin with small numbers.
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1;
    for (let i = 0; i < 8; i++) this.next();
  }

  /** From 0, below 1. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) / 2 ** 32;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** Texts that programs stumble over. */
export const NASTY = [
  "",
  ".",
  "..",
  "../../../../canary",
  "/etc/passwd",
  "a/b",
  "-",
  "--",
  "--all",
  "\u0000",
  "\n",
  "%s%n",
  '"',
  "\\",
  "x".repeat(300),
  "é",
  "kcr.io/restore-from",
] as const;

/** The value with one thing in it changed, left out or replaced: what a JSON document of somebody else may be. */
export function mutated(value: unknown, random: Random): unknown {
  if (typeof value === "object" && value !== null && random.chance(0.9)) {
    const entries = Object.entries(value);
    if (entries.length > 0) {
      const [key, old] = random.pick(entries);
      const copy: Record<string, unknown> | unknown[] = Array.isArray(value) ? [...value] : { ...value };
      const set = copy as Record<string, unknown>;
      if (random.chance(0.15)) delete set[key];
      else set[key] = mutated(old, random);
      return copy;
    }
  }
  return random.pick<unknown>([...NASTY, null, true, 0, -1, 1e308, 2 ** 53, [], {}, [[]], { a: { b: 1 } }]);
}

/** JSON, sometimes cut short, with bytes changed, or with something before or after it. */
export function asText(value: unknown, random: Random): string {
  const text = JSON.stringify(value) ?? "";
  const at = random.below(text.length + 1);
  switch (random.below(12)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + random.pick(NASTY) + text.slice(at);
    case 2:
      return `${random.pick(NASTY)}${text}`;
    default:
      return text;
  }
}
