// The demo's controls. The server has them only in `fanout demo`; elsewhere this part stays hidden.

import { find, html } from "./dom.js";

const HANG_UP_MS = 80;
const FLOOD = { count: 2000, over_ms: 2000 };
const SLOWEST_MS = 2000;

// What can be dragged of the upstream's faults; the others stay as they are.
const FAULTS = [
  ["status", "error statuses"],
  ["rst_before_head", "resets"],
  ["not_json", "garbage"],
  ["hang_before_head", "hangs"],
];

async function post(what, value) {
  const response = await fetch(`live/control/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Fanout-Live": "1" },
    body: JSON.stringify(value),
  });
  const said = await response.json();
  if (!response.ok) throw new Error(said.error);
  return said;
}

// The last value counts, and one request is under way at a time, however fast a slider is dragged.
function latestOnly(send) {
  let waiting = null;
  let busy = false;
  return async function next(value) {
    waiting = value;
    if (busy) return;
    busy = true;
    while (waiting !== null) {
      const now = waiting;
      waiting = null;
      await send(now);
    }
    busy = false;
  };
}

export class Controls {
  #said = html("p", { class: "said small", role: "status" });
  #fire = html("form", { class: "fire" });
  #sliders = new Map();
  #apart = {}; // faults that have no slider
  #original; // the upstream as this page has found it

  constructor() {
    this.#makeFire();
    find("#controls").append(this.#fire, this.#makeSliders(), this.#said);
  }

  // upstream: its settings; null outside the demo.
  show(upstream) {
    find("#controls").hidden = upstream === null;
    if (upstream === null) return;
    this.#original ??= upstream;
    this.#set(upstream);
  }

  #makeFire() {
    const choice = (value, checked) => html(
      "label", {}, html("input", { type: "radio", name: "endpoint", value, checked: checked && "" }), value,
    );
    const timeout = html("input", {
      name: "timeout", type: "number", min: 1, max: 30000, step: 1, value: 1000, required: "",
    });
    const button = (text, more, name = "") =>
      html("button", { type: "submit", class: name, "data-order": JSON.stringify(more) }, text);
    this.#fire.append(
      html(
        "fieldset", { class: "bar" }, html("legend", { class: "unseen" }, "Endpoint"),
        choice("first", true), choice("all", false),
        html("label", { class: "grow" }, "timeout ", timeout, " ms"),
      ),
      html(
        "div", { class: "buttons" },
        button("Send one", { count: 1 }, "primary"),
        button("Send 50", { count: 50, over_ms: 500 }),
        button("Disconnect", { count: 1, hang_up_after_ms: HANG_UP_MS }),
        button("Flood", FLOOD),
      ),
    );
    this.#fire.addEventListener("submit", (event) => {
      event.preventDefault();
      const { endpoint, timeout: typed } = this.#fire.elements;
      const order = JSON.parse(event.submitter.dataset.order);
      this.#try(() => post("fire", { endpoint: endpoint.value, timeout_ms: Number(typed.value), ...order }));
    });
  }

  #makeSliders() {
    const reset = html("button", { type: "button" }, "Reset");
    const send = latestOnly((settings) => this.#try(() => post("upstream", settings)));
    reset.addEventListener("click", () => {
      this.#set(this.#original);
      send(this.#original);
    });
    const slider = (name, text, max, step, unit) => {
      const input = html("input", { type: "range", min: 0, max, step, name });
      const value = html("output", {});
      this.#sliders.set(name, { input, value, unit });
      input.addEventListener("input", () => {
        this.#keepOrder(name);
        this.#label();
        send(this.#settings());
      });
      return html("label", {}, html("span", {}, text), input, value);
    };
    return html(
      "form", { class: "sliders", "aria-label": "The simulated upstream" },
      html("h3", {}, "The upstream"),
      slider("min_delay_ms", "fastest", SLOWEST_MS, 10, "ms"),
      slider("max_delay_ms", "slowest", SLOWEST_MS, 10, "ms"),
      ...FAULTS.map(([name, text]) => slider(name, text, 100, 1, "%")),
      reset,
    );
  }

  // The fastest answer cannot be slower than the slowest: the other slider goes along.
  #keepOrder(moved) {
    const low = this.#sliders.get("min_delay_ms").input;
    const high = this.#sliders.get("max_delay_ms").input;
    if (Number(low.value) <= Number(high.value)) return;
    if (moved === "min_delay_ms") high.value = low.value;
    else low.value = high.value;
  }

  #set(upstream) {
    this.#apart = { ...upstream.faults };
    for (const [name, { input }] of this.#sliders) {
      input.value = upstream[name] ?? 100 * (upstream.faults[name] ?? 0);
      delete this.#apart[name];
    }
    this.#label();
  }

  #settings() {
    const value = (name) => Number(this.#sliders.get(name).input.value);
    const faults = { ...this.#apart };
    for (const [name] of FAULTS) if (value(name)) faults[name] = value(name) / 100;
    return { min_delay_ms: value("min_delay_ms"), max_delay_ms: value("max_delay_ms"), faults };
  }

  #label() {
    for (const { input, value, unit } of this.#sliders.values()) {
      value.textContent = `${input.value} ${unit}`;
      input.setAttribute("aria-valuetext", value.textContent);
      input.style.setProperty("--share", `${(100 * input.value) / input.max}%`);
    }
  }

  async #try(act) {
    try {
      await act();
      this.#said.textContent = "";
    } catch (error) {
      this.#said.textContent = `Failed: ${error.message}.`;
    }
  }
}
