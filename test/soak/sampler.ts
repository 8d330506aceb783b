import { delay } from "../../src/kube/signals.ts";
import { type Course, courseOf, type Sample } from "./flat.ts";
import { gone, kcrProcesses, sizeOf } from "./processes.ts";

const EACH_MS = 10_000;

/** Looks at memory and open files of every operator and agent of a cluster until told to end; each process by itself. */
export async function sampleUntil(cluster: string, end: AbortSignal): Promise<Course[]> {
  const series = new Map<string, { name: string; samples: Sample[] }>();
  while (!end.aborted) {
    for (const { pid, program, node, started } of await kcrProcesses(cluster)) {
      const size = await sizeOf(pid).catch(gone);
      if (size === undefined || !(size.rssBytes > 0)) continue;
      const key = `${pid}/${started}`;
      const one = series.get(key) ?? { name: `${program} on ${node}`, samples: [] };
      series.set(key, one);
      one.samples.push({ at: Date.now(), ...size });
    }
    await delay(EACH_MS, end).catch(() => {});
  }
  return [...series.values()].map(({ name, samples }) => courseOf(name, samples));
}
