// The guarantees by their ids: on how many requests each was checked, and those that only tests can show.

import { find, html } from "./dom.js";
import { count } from "./words.js";

const GUARANTEES = [
  ["G1", "one answer"], ["G2", "on time"], ["G3", "nothing outlives"], ["G4", "first success"],
  ["G5", "all, in order"], ["G6", "disconnect"], ["G7", "pool stays whole"], ["G8", "shed at once"],
  ["G9", "graceful shutdown"], ["G10", "bulkhead"], ["G11", "bugs are loud"], ["G12", "no threads"],
];

const requests = (number) => (number === 1 ? "1 request" : `${count(number)} requests`);

const state = ([kept, broken]) => {
  if (broken) return ["broken", "✕", `broken: ${requests(broken)}`];
  return kept ? ["kept", "✓", requests(kept)] : ["unseen-yet", "·", "no request yet"];
};

export class Board {
  #tiles = new Map();
  #since = html("p", { class: "small" });

  constructor() {
    const items = GUARANTEES.map(([id, name]) => {
      const symbol = html("span", { class: "symbol", "aria-hidden": "true" }, "·");
      const said = html("span", { class: "said" }, "held by tests");
      const item = html("li", { class: "by-tests" }, symbol, html("b", {}, id), html("span", {}, name), said);
      this.#tiles.set(id, { item, symbol, said });
      return item;
    });
    const document = html("a", { href: "live/guarantees.md" }, "how tests hold them");
    const how = html("p", { class: "small" }, "A tick counts the requests that were checked while this page is open. " +
      "What no request can show is held by tests: ", document, ".");
    find("#guarantees").append(html("ul", {}, ...items), how, this.#since);
  }

  show(sample) {
    for (const [id, counts] of Object.entries(sample.guarantees)) this.#set(id, ...state(counts));
    if (sample.bugs) this.#set("G11", "told", "!", `${count(sample.bugs)} reported`);
    if (sample.draining) this.#set("G9", "told", "↓", `${count(sample.in_flight)} left`);
    this.#since.textContent =
      `Since the start of the server: `
      + `${count(sample.late_answers)} late answers, ${count(sample.bugs)} bugs.`;
  }

  #set(id, name, sign, words) {
    const { item, symbol, said } = this.#tiles.get(id);
    if (said.textContent === words) return;
    item.className = name;
    symbol.textContent = sign;
    said.textContent = words;
  }
}
