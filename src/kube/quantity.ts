/** Source: apimachinery's `resource.Quantity`; suffixes are powers of 1000, with an i of 1024. */
const SUFFIXES: Record<string, number> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/;

/**
 * What a quantity such as `250m`, `1.5Gi` or `2e3` stands for. Caveats: a double; exact up to 2^53.
 *
 * Errors: a TypeError for what is no quantity.
 */
export function parseQuantity(text: string): number {
  const match = QUANTITY.exec(text);
  if (match === null) throw new TypeError(`${JSON.stringify(text)} is no quantity`);
  const [, number = "", exponent = "", suffix = ""] = match;
  return Number(`${number}${exponent}`) * SUFFIXES[suffix]!;
}
