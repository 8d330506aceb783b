import fc from "fast-check";
import { expect, it } from "vitest";
import type { LabelSelector } from "../api/common.ts";
import type { CheckpointSchedule } from "../api/schedule.ts";
import { matches } from "../api/selector.ts";
import type { Pod } from "../kube/resources.ts";
import { Store } from "../kube/store.ts";
import { BY_NAMESPACE, byNamespace } from "./context.ts";
import { BY_LABEL, labelOfSchedule, labelsOfPod, podsOfSchedule, schedulesOfPod } from "./selection.ts";

const [key, value] = [fc.constantFrom("app", "env", "tier"), fc.constantFrom("a", "b", "long-name")];
const labels = fc.dictionary(key, value, { maxKeys: 3 });
const expression = fc.record({
  key,
  operator: fc.constantFrom("In" as const, "NotIn" as const, "Exists" as const, "DoesNotExist" as const),
  values: fc.array(value, { maxLength: 2 }),
});
const selector: fc.Arbitrary<LabelSelector> = fc.record(
  { matchLabels: labels, matchExpressions: fc.array(expression, { maxLength: 2 }) },
  { requiredKeys: [] },
);
const namespace = fc.constantFrom("one", "two");

it("pods and schedules find each other by index as they would one by one", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(namespace, labels), { maxLength: 12 }),
      fc.array(fc.tuple(namespace, selector), { maxLength: 12 }),
      (somePods, someSchedules) => {
        const pods = new Store<Pod>({ [BY_NAMESPACE]: byNamespace, [BY_LABEL]: labelsOfPod });
        const schedules = new Store<CheckpointSchedule>({ [BY_LABEL]: labelOfSchedule });
        for (const [n, [namespace, labels]] of somePods.entries())
          pods.set({ metadata: { namespace, name: `p${n}`, labels } } as Pod);
        for (const [n, [namespace, selector]] of someSchedules.entries())
          schedules.set({
            metadata: { namespace, name: `s${n}` },
            spec: { schedule: "@daily", selector },
          } as CheckpointSchedule);
        const fits = (pod: Pod, { metadata, spec }: CheckpointSchedule) =>
          pod.metadata.namespace === metadata.namespace && matches(spec.selector, pod.metadata.labels);
        const names = (some: readonly { metadata: { name: string } }[]) =>
          some.map(({ metadata }) => metadata.name).sort();
        for (const schedule of schedules.list())
          expect(names(podsOfSchedule({ pods }, schedule))).toEqual(
            names(pods.list().filter((pod) => fits(pod, schedule))),
          );
        for (const pod of pods.list())
          expect(names(schedulesOfPod({ schedules }, pod))).toEqual(
            names(schedules.list().filter((schedule) => fits(pod, schedule))),
          );
      },
    ),
  );
});
