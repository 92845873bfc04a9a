// One tile for each guarantee; it opens to the evidence.

import { find, html } from "./dom.js";
import { ms, SYMBOLS, verdictOf } from "./words.js";
import { timeline } from "./timeline.js";
import { facts, openSheet, part } from "./sheet.js";

const code = (text) => html("code", {}, text);

function seen(observation) {
  const word = observation.holds ? "holds" : "does not hold";
  return html(
    "li", { class: observation.holds ? "kept" : "broken" },
    html("span", { class: "symbol", role: "img", "aria-label": word }, SYMBOLS[observation.holds ? "kept" : "broken"]),
    html("b", {}, observation.by), html("span", {}, observation.text),
  );
}

// What stands between backticks is code.
const paragraph = (text) =>
  html("p", {}, ...text.split("`").map((words, index) => (index % 2 ? code(words) : words)));

function openTile(experiment) {
  const verdict = verdictOf(experiment);
  const breaks = experiment.breakages.map((name) => html("li", {}, code(`fanout lab --break ${name}`)));
  openSheet(
    SYMBOLS[verdict], verdict, `${experiment.id} ${experiment.title}`,
    html("p", { class: "lead" }, `${experiment.claim}: ${verdict}.`),
    html("details", {}, html("summary", {}, "About this experiment"), ...experiment.article.map(paragraph)),
    part("Done", html("ul", { class: "done" }, ...experiment.done.map((text) => html("li", {}, text)))),
    part("Seen", html("ul", { class: "seen" }, ...experiment.seen.map(seen))),
    ...(experiment.timeline.length ? [part("Timeline", timeline(experiment.timeline))] : []),
    facts([
      ["measured in", experiment.virtual ? "real time, and a part in virtual time" : "real time"],
      ["took", ms(experiment.took_ms)],
      ["code", code(experiment.code)],
      ["test", code(experiment.test)],
      ["run it", code(`fanout lab ${experiment.id}`)],
      ...(breaks.length ? [["break it", html("ul", {}, ...breaks)]] : []),
    ]),
  );
}

function tile(experiment) {
  const verdict = verdictOf(experiment);
  const button = html("button", { type: "button" }, `${experiment.id} ${experiment.title}`);
  button.addEventListener("click", () => openTile(experiment));
  const holding = experiment.seen.filter((observation) => observation.holds).length;
  return html(
    "li", { class: `tile ${verdict}` },
    html("h3", {}, button),
    html("p", { class: "verdict" }, html("span", { class: "symbol" }, SYMBOLS[verdict]), verdict),
    html("p", { class: "claim" }, experiment.claim),
    ...(experiment.timeline.length ? [timeline(experiment.timeline, true)] : []),
    html("p", { class: "small" }, `${holding} of ${experiment.seen.length} observations hold`,
      experiment.virtual ? " · partly in virtual time" : ""),
  );
}

export function showTiles(experiments) {
  find("#tiles").append(...experiments.map(tile));
  if (!experiments.length) find("#guarantees").append(html("p", { class: "notice" }, "No experiment was run. The command fanout lab runs them."));
}
