import { parseQuantity } from "../../kube/quantity.ts";
import type { Pod } from "../../kube/resources.ts";

/** Amounts of resources by name: whole thousandths for cpu, whole units for everything else. */
export type Amounts = Record<string, number>;

type Quantities = Record<string, string> | undefined;

/** Rounded up, as the scheduler does; what is a hair above a whole number came from binary fractions. */
const whole = (value: number): number => Math.ceil(value - 1e-6);

export function amountsOf(quantities: Quantities): Amounts {
  return Object.fromEntries(
    Object.entries(quantities ?? {}).map(([name, quantity]) => [
      name,
      whole(parseQuantity(quantity) * (name === "cpu" ? 1000 : 1)),
    ]),
  );
}

/** The inverse of {@link amountsOf}. */
export const quantitiesOf = (amounts: Amounts): Record<string, string> =>
  Object.fromEntries(
    Object.entries(amounts).map(([name, amount]) => [name, name === "cpu" ? `${amount}m` : String(amount)]),
  );

export function add(a: Amounts, b: Amounts): Amounts {
  const sum = { ...a };
  for (const [name, amount] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + amount;
  return sum;
}

function larger(a: Amounts, b: Amounts): Amounts {
  const most = { ...a };
  for (const [name, amount] of Object.entries(b)) most[name] = Math.max(most[name] ?? 0, amount);
  return most;
}

/**
 * What a pod asks of its node: the sum of its containers and sidecars, or what an init container needs beside the
 * sidecars before it, if that is more; requests of the whole pod go before those of its containers; overhead is added.
 *
 * Source: Kubernetes' component-helpers, `resource.PodRequests`.
 */
export function podRequests(spec: NonNullable<Pod["spec"]>): Readonly<Amounts> {
  const known = counted.get(spec);
  if (known !== undefined) return known;
  const requests = countRequests(spec);
  counted.set(spec, requests);
  return requests;
}

/** A cache's pods are asked about again and again, and never change. */
const counted = new WeakMap<NonNullable<Pod["spec"]>, Readonly<Amounts>>();

function countRequests(spec: NonNullable<Pod["spec"]>): Amounts {
  let sum: Amounts = {};
  for (const container of spec.containers) sum = add(sum, amountsOf(container.resources?.requests));
  let sidecars: Amounts = {};
  let starting: Amounts = {};
  for (const container of spec.initContainers ?? []) {
    const own = amountsOf(container.resources?.requests);
    if (container.restartPolicy === "Always") {
      sum = add(sum, own);
      sidecars = add(sidecars, own);
      starting = larger(starting, sidecars);
    } else {
      starting = larger(starting, add(own, sidecars));
    }
  }
  const ofPod = amountsOf(spec.resources?.requests);
  return add({ ...larger(sum, starting), ...ofPod }, amountsOf(spec.overhead));
}
