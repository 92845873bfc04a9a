// What is told in words: how many requests are shown, and every ten seconds, politely, how things are.

import { find } from "./dom.js";
import { count } from "./words.js";

const FIRST_AFTER_MS = 3_000;
const ANNOUNCE_EVERY_MS = 10_000;

export class Summary {
  #shown = 0;
  #leftOut = 0;
  #shed = 0; // before they were read: these have no rows
  #shedBefore = null;
  #since = performance.now();
  #rates = [];

  constructor() {
    setTimeout(() => this.#announce(), FIRST_AFTER_MS);
    setInterval(() => this.#announce(), ANNOUNCE_EVERY_MS);
  }

  add(batch) {
    this.#shown += batch.rows.filter((row) => row.reason !== "running").length;
    this.#leftOut += batch.left_out;
    if (batch.sample === null) return;
    this.#rates.push(batch.sample);
    const shed = batch.sample.refused_unread;
    this.#shed += Math.max(0, shed - (this.#shedBefore ?? shed));
    this.#shedBefore = shed;
    const seconds = (performance.now() - this.#since) / 1000;
    if (seconds < 1) return;
    const all = this.#shown + this.#leftOut;
    const shown = this.#leftOut
      ? `showing ${count(this.#shown)} of ${count(all)} in the last second`
      : "showing every request";
    find("#shown").textContent = this.#shed ? `${shown}; ${count(this.#shed)} shed before they were read` : shown;
    this.#shown = this.#leftOut = this.#shed = 0;
    this.#since = performance.now();
  }

  #announce() {
    const seconds = this.#rates.length / 2;
    if (!seconds) return;
    const total = (of) => count(Math.round(this.#rates.reduce((sum, sample) => sum + of(sample) / 2, 0)));
    find("#announcer").textContent =
      `In the last ${Math.round(seconds)} seconds: ${total((s) => s.answered_rate)} answered, ` +
      `${total((s) => s.failed_rate)} failed, ${total((s) => s.refused_rate)} rejected, ` +
      `${total((s) => s.left_rate)} disconnected. ${this.#rates.at(-1).in_flight} in flight.`;
    this.#rates = [];
  }
}
