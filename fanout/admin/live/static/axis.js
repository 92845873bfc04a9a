// One time axis for all rows: from the arrival to a round number beyond the longest request that is shown.

const ENDS = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const STEPS = [1, 2, 2.5, 5, 10];
const LEAST_MS = 100;

export function roundUp(value, steps) {
  const power = 10 ** Math.floor(Math.log10(value));
  return steps.find((step) => step * power >= value) * power;
}

// It grows at once and shrinks only when much would be gained, so that the rows do not jump about.
export function fitted(rows, elapsed, before) {
  const longest = Math.max(LEAST_MS, ...rows.map((row) => row.used_ms ?? elapsed(row)));
  const wanted = roundUp(longest * 1.04, ENDS);
  return wanted > before || wanted < 0.55 * before ? wanted : before;
}

export function ticks(scale) {
  const step = roundUp(scale / 6, STEPS);
  const found = [];
  // A number at the very end would stick out.
  for (let at = 0; at < scale * 0.97; at += step) found.push(Math.round(at));
  return found;
}
