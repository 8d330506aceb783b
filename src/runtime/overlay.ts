import { readdirSync, readFileSync } from "node:fs";

/** An overlay as /proc/self/mountinfo tells of it. */
export interface Overlay {
  /** Layers, the uppermost first, as given to mount(2). */
  lower: string[];
  upper: string;
  work: string;
}

/** The overlay that is mounted at `path`, the uppermost if several are; undefined for anything else. */
export function overlayAt(
  path: string,
  mountinfo = readFileSync("/proc/self/mountinfo", "utf8"),
): Overlay | undefined {
  let found: Overlay | undefined;
  for (const line of mountinfo.split("\n")) {
    const [head, tail] = line.split(" - ");
    if (tail === undefined || plainText(head?.split(" ")[4] ?? "") !== path) continue;
    const [type, , options = ""] = tail.split(" ");
    found = type === "overlay" ? overlayOf(plainText(options)) : undefined;
  }
  return found;
}

function overlayOf(options: string): Overlay | undefined {
  const values = new Map(
    options.split(",").map((option): [string, string] => {
      const at = option.indexOf("=");
      return at < 0 ? [option, ""] : [option.slice(0, at), option.slice(at + 1)];
    }),
  );
  const [lower, upper, work] = ["lowerdir", "upperdir", "workdir"].map((key) => values.get(key));
  return lower && upper && work ? { lower: lower.split(":"), upper, work } : undefined;
}

/** The kernel writes blanks, tabs, newlines and backslashes as octal numbers. */
const plainText = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Whether a failed restore in that root file system can be undone: nothing has been written to it yet. */
export const isUntouched = ({ upper }: Overlay): boolean =>
  upper.startsWith("/") && readdirSync(upper).length === 0;
