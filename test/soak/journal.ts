/** One fault, as it went. */
export interface Incident {
  name: string;
  /** RFC 3339. */
  from: string;
  until?: string;
  /** What shows that it happened. */
  seen?: string;
  /** Why it did not. */
  failed?: string;
}

/** What was broken on purpose, and when. */
export class Journal {
  readonly incidents: Incident[] = [];
  #open = 0;
  #calmSince = Date.now();

  /** Since when nothing is broken, in milliseconds since 1970; undefined while something is. */
  calmSince = (): number | undefined => (this.#open === 0 ? this.#calmSince : undefined);

  /** Makes a fault and writes down how that went: one that could not be made is none. */
  async during(name: string, make: () => Promise<string>): Promise<Incident> {
    const incident: Incident = { name, from: new Date().toISOString() };
    this.incidents.push(incident);
    this.#open += 1;
    try {
      incident.seen = await make();
    } catch (error) {
      incident.failed = (error as Error).message;
    } finally {
      this.#open -= 1;
      this.#calmSince = Date.now();
      incident.until = new Date().toISOString();
    }
    return incident;
  }

  /** How often each really happened. */
  counts(names: readonly string[]): Record<string, number> {
    const happened = this.incidents.filter(({ seen }) => seen !== undefined);
    return Object.fromEntries(
      names.map((name) => [name, happened.filter((incident) => incident.name === name).length]),
    );
  }

  /** What went on then, or shortly before. */
  around(from: number, until: number): Incident[] {
    return this.incidents.filter(
      (incident) =>
        Date.parse(incident.from) <= until && Date.parse(incident.until ?? new Date().toISOString()) >= from,
    );
  }
}
