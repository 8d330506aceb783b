/** Does once what is measured; returns how long it took, in milliseconds. */
export type Contender = () => Promise<number>;

/**
 * Runs what is compared in rounds, each contender once a round, every other round in reverse, and each pair of
 * rounds begun with another one: so neither the machine's other work nor what one leaves behind for the next falls
 * on one alone. `before` runs ahead of each.
 *
 * Returns each contender's results in the order of the rounds.
 */
export async function inTurns<Contenders extends Record<string, Contender | undefined>>(
  rounds: number,
  contenders: Contenders,
  before: (name: string, round: number) => Promise<void>,
): Promise<{ [Name in keyof Contenders]: number[] }> {
  const named = Object.entries(contenders).filter(
    (entry): entry is [string, Contender] => entry[1] !== undefined,
  );
  const results: Record<string, number[]> = Object.fromEntries(named.map(([name]) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const first = Math.floor(round / 2) % named.length;
    const order = [...named.slice(first), ...named.slice(0, first)];
    for (const [name, contender] of round % 2 === 0 ? order : order.reverse()) {
      await before(name, round);
      results[name]!.push(await contender());
    }
  }
  return results as { [Name in keyof Contenders]: number[] };
}
