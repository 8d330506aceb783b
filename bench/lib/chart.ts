/** Lines over a common x. Both axes are logarithmic, so that what grows as its x does is a straight line. */
export interface Chart {
  title: string;
  x: string;
  lines: ReadonlyArray<{ name: string; points: ReadonlyArray<readonly [x: number, y: number]> }>;
}

const [WIDTH, HEIGHT] = [860, 420];
const FRAME = { left: 70, right: 300, top: 50, bottom: 50 };
const COLOURS = ["#0b6e99", "#c4441c", "#2d7d46", "#7a4fa3", "#b08800", "#444444"];

/** The chart as an SVG document. Values below 1 are drawn as 1. */
export function chart({ title, x, lines }: Chart): string {
  const points = lines.flatMap((line) => line.points);
  const decades = (values: readonly number[]): [number, number] => [
    Math.floor(Math.log10(Math.max(1, Math.min(...values)))),
    Math.ceil(Math.log10(Math.max(10, ...values))),
  ];
  const [x0, x1] = decades(points.map(([value]) => value));
  const [y0, y1] = decades(points.map(([, value]) => value));
  const at = (value: number, from: number, to: number, low: number, high: number) =>
    low + ((Math.log10(Math.max(1, value)) - from) / Math.max(1, to - from)) * (high - low);
  const px = (value: number) => round(at(value, x0, x1, FRAME.left, WIDTH - FRAME.right));
  const py = (value: number) => round(at(value, y0, y1, HEIGHT - FRAME.bottom, FRAME.top));
  const steps = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, n) => 10 ** (from + n));

  const grid = [
    ...steps(x0, x1).map((value) => mark(px(value), FRAME.top, px(value), HEIGHT - FRAME.bottom)),
    ...steps(y0, y1).map((value) => mark(FRAME.left, py(value), WIDTH - FRAME.right, py(value))),
  ];
  const labels = [
    ...steps(x0, x1).map((value) => text(px(value), HEIGHT - FRAME.bottom + 18, `${value}`, "middle")),
    ...steps(y0, y1).map((value) => text(FRAME.left - 8, py(value) + 4, `${value}`, "end")),
    text((FRAME.left + WIDTH - FRAME.right) / 2, HEIGHT - 10, x, "middle"),
    text(FRAME.left, 26, title, "start", 15),
  ];
  const drawn = lines.flatMap((line, n) => {
    const colour = COLOURS[n % COLOURS.length]!;
    const path = line.points.map(([a, b], i) => `${i === 0 ? "M" : "L"}${px(a)} ${py(b)}`).join(" ");
    const [, last] = line.points.at(-1) ?? [0, 1];
    return [
      `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...line.points.map(([a, b]) => `<circle cx="${px(a)}" cy="${py(b)}" r="3" fill="${colour}"/>`),
      text(
        WIDTH - FRAME.right + 12,
        FRAME.top + 16 + n * 22,
        `${line.name}: ${round(last)}`,
        "start",
        12,
        colour,
      ),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    ...grid,
    ...labels,
    ...drawn,
    "</svg>\n",
  ].join("\n");
}

const round = (value: number): number => Number(value.toPrecision(4));

const mark = (x1: number, y1: number, x2: number, y2: number): string =>
  `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#dddddd"/>`;

function text(x: number, y: number, content: string, anchor: string, size = 12, colour = "#222222"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" fill="${colour}">${escaped}</text>`;
}
