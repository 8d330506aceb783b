/** What a busy node says by chance: its control groups (version 1) could not be frozen just then. */
const BY_CHANCE = /unable to freeze|Unseizable/;

/** Tries again, as the agent does, where it was chance that something failed. */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 2; tries > 0; tries -= 1) {
    try {
      return await work();
    } catch (error) {
      if (!BY_CHANCE.test((error as Error).message)) throw error;
    }
  }
  return await work();
}
