// Where everything is put together: the stream goes in, the parts of the page come out.

import { Board } from "./board.js";
import { Charts } from "./charts.js";
import { heard, restart } from "./clock.js";
import { Controls } from "./controls.js";
import { find } from "./dom.js";
import { explain } from "./legend.js";
import { List } from "./list.js";
import { openReceipt, prepareReceipt } from "./receipt.js";
import { introduce } from "./server.js";
import { Store } from "./store.js";
import { follow } from "./stream.js";
import { Summary } from "./summary.js";
import { count } from "./words.js";

const STATES = {
  live: "live",
  draining: "shutting down",
  stopped: "the server has stopped; waiting for it to start again",
  disconnected: "disconnected; trying again",
};

const store = new Store();
const list = new List(store, openReceipt);
const charts = new Charts();
const board = new Board();
const controls = new Controls();
const summary = new Summary();
let unseen = 0;

explain();
prepareReceipt();

follow("live/events", {
  state(name) {
    const pill = find("#connection");
    pill.dataset.state = name;
    pill.textContent = STATES[name];
  },
  greeting(message) {
    const { rows, samples, about } = message;
    restart(message);
    store.forgetRunning();
    rows.forEach((row) => store.add(row));
    charts.begin(samples);
    controls.show(about.demo);
    introduce(about);
    list.show();
  },
  batch(batch) {
    heard(batch);
    batch.rows.forEach((row) => store.add(row));
    summary.add(batch);
    if (batch.sample) {
      charts.add(batch.sample);
      board.show(batch.sample);
    }
    if (list.frozen) {
      unseen += batch.rows.filter((row) => row.reason !== "running").length + batch.left_out;
      find("#freeze").textContent = `Resume (${count(unseen)} new)`;
    }
    list.show();
  },
});

find("#freeze").addEventListener("click", () => {
  const button = find("#freeze");
  list.frozen = !list.frozen;
  unseen = 0;
  button.setAttribute("aria-pressed", list.frozen);
  button.textContent = list.frozen ? "Resume" : "Pause";
  list.show();
});

find("#filter").addEventListener("submit", (event) => event.preventDefault());
find("#filter").addEventListener("input", () => {
  const { endpoint, kind, text } = find("#filter").elements;
  store.filter = { endpoint: endpoint.value, kind: kind.value, text: text.value.trim().toLowerCase() };
  const frozen = list.frozen;
  list.frozen = false; // a filter may look behind what is frozen
  list.show();
  list.frozen = frozen;
});
