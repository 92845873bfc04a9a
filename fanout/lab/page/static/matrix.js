// The matrix: a grid for each section. One cell of a grid can be reached with Tab; arrow keys move from there.

import { find, html } from "./dom.js";
import { ms, spaced, SYMBOLS } from "./words.js";
import { timeline } from "./timeline.js";
import { facts, openSheet, part, spacedClass } from "./sheet.js";

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const situationOf = (row) => (row.endpoint ? `${row.name}, ${row.endpoint}` : row.name);

// The lines with their numbers. The one that leaks is marked, also by words.
function listing(source, leak) {
  const lines = source.replace(/\n$/, "").split("\n").map((text, index) => {
    const leaks = index + 1 === leak;
    return html("li", { class: leaks ? "leaks" : null }, html("code", {}, text || " "),
      ...(leaks ? [html("span", { class: "unseen" }, "this line leaks or waits")] : []));
  });
  return html("ol", { class: "listing", tabindex: 0, "aria-label": "Its code" }, ...lines);
}

function openCell(cell, row, section, sources) {
  const counts = Object.entries(cell.counts).map(([name, value]) => [spaced(name), String(value)]);
  const source = sources[cell.source];
  openSheet(
    SYMBOLS[cell.verdict], cell.verdict, `${cell.variant}: ${cell.text}`,
    html("p", { class: "lead" }, `${situationOf(row)}: ${row.situation}`),
    facts([
      ["verdict", cell.verdict],
      ...(cell.answered_ms === null ? [] : [["answered", ms(cell.answered_ms)]]),
      ...(cell.due_ms === null ? [] : [["due", ms(cell.due_ms)]]),
      ...counts,
    ]),
    ...(cell.timeline.length ? [part("Timeline", timeline(cell.timeline))] : []),
    ...(source ? [part(cell.leak ? `Code: line ${cell.leak} leaks or waits` : "Code", listing(source, cell.leak))] : []),
    html("p", { class: "small" }, section.how),
  );
}

function box(cell, row, section, sources) {
  const button = html(
    "button", { type: "button", class: spacedClass(cell.verdict), tabindex: -1, "aria-label": `${cell.variant}: ${cell.verdict}, ${cell.text}` },
    html("span", { class: "symbol" }, SYMBOLS[cell.verdict]), html("span", {}, cell.text),
  );
  button.addEventListener("click", () => openCell(cell, row, section, sources));
  return html("td", {}, button);
}

// rows: of buttons.
function moveWithArrows(table, rows) {
  const reach = (button) => {
    for (const each of table.querySelectorAll("td button")) each.tabIndex = each === button ? 0 : -1;
  };
  reach(rows[0]?.[0]);
  table.addEventListener("focusin", (event) => reach(event.target));
  table.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const at = rows.findIndex((buttons) => buttons.includes(event.target));
    if (!step || at < 0) return;
    event.preventDefault();
    rows[at + step[0]]?.[rows[at].indexOf(event.target) + step[1]]?.focus();
  });
}

function grid(section, sources) {
  const heads = section.variants.map((name) => html("th", { scope: "col" }, name));
  const rows = section.rows.map((row) => {
    const cells = section.variants.map((variant) => row.cells.find((cell) => cell.variant === variant));
    const title = html("th", { scope: "row", title: row.situation }, situationOf(row));
    return html("tr", {}, title, ...cells.map((cell) => (cell ? box(cell, row, section, sources) : html("td", {}))));
  });
  const table = html("table", {}, html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Situation"), ...heads)),
    html("tbody", {}, ...rows));
  moveWithArrows(table, rows.map((row) => [...row.querySelectorAll("button")]));
  return html("div", { class: "scrolls", role: "region", tabindex: 0, "aria-label": section.title }, table);
}

const legend = () =>
  html("ul", { class: "legend", "aria-label": "What the symbols mean" },
    ...Object.entries({ kept: "right, on time, nothing left", late: "right, but after it was due", broken: "wrong, or something was left, cut off or lost", "not measured": "the cell says why" })
      .map(([verdict, text]) => html("li", { class: spacedClass(verdict) }, html("span", { class: "symbol" }, SYMBOLS[verdict]), `${verdict}: ${text}`)));

export function showMatrix(matrix) {
  const section = find("#matrix");
  if (!matrix) {
    section.append(html("p", { class: "notice" }, "Not measured here. The command fanout lab asyncio measures it."));
    return;
  }
  section.append(legend());
  for (const each of matrix.sections) {
    section.append(html("h3", {}, each.title), html("p", { class: "small" }, each.how), grid(each, matrix.sources));
  }
}
