import { InvalidArgumentError, Option } from "commander";

/** Flags that several commands have. */
export const allNamespaces = (): Option => new Option("-A, --all-namespaces", "of all namespaces");
export const selector = (what: string): Option =>
  new Option("-l, --selector <labels>", `only ${what} with these labels: app=x,tier!=web`).argParser(labels);

/** An empty selector is one that a script has forgotten to set, and would mean everything there is. */
function labels(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("labels are wanted, such as app=x.");
  return text;
}
export const yes = (): Option => new Option("-y, --yes", "do not ask");

/** `30s`, `5m`, `1h30m`, or seconds: as seconds. Errors: commander's, which names the flag. */
export function seconds(text: string): number {
  if (/^\d{1,8}$/.test(text)) return Number(text);
  const [, h, m, s] = /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?$/.exec(text) ?? [];
  if ((h ?? m ?? s) === undefined) throw new InvalidArgumentError("write 30s, 5m or 1h30m.");
  return Number(h ?? 0) * 3600 + Number(m ?? 0) * 60 + Number(s ?? 0);
}

/** As seconds, at least 1 and at most a day: what requests and restores take for their deadline. */
export function deadline(text: string): number {
  const value = seconds(text);
  if (value < 1 || value > 86_400) throw new InvalidArgumentError("from 1s to 24h.");
  return value;
}

/** Gathers a flag that may be given several times, or with commas. */
export const several = (text: string, before: string[] = []): string[] => [
  ...before,
  ...text.split(",").filter(Boolean),
];
export const watching = (): Option => new Option("-w, --watch", "show it again as it changes, until Ctrl-C");

/** A number of seconds, more than none, that may have a fraction. */
export function patience(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("a number of seconds is wanted.");
  return value;
}
