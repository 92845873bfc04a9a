// Verdicts and times in words. Colours and shapes only repeat them.

export const SYMBOLS = { kept: "✓", late: "◷", broken: "✕", "not measured": "–" };

export const ms = (value) =>
  value === null || value === undefined ? "–" : `${Number(value.toFixed(value < 10 ? 2 : 1))} ms`;

export const verdictOf = (experiment) => (experiment.kept ? "kept" : "broken");

// tasks_at_50_ms is "tasks at 50 ms".
export const spaced = (name) => name.replaceAll("_", " ");
