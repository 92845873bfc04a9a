// The player: a recorded race, one event-loop iteration at a time. A cut is the run in which the client
// disconnects at one of its checkpoints. It is the same run up to that point; the rest of it was recorded.

import { find, html } from "./dom.js";
import { ms, spaced } from "./words.js";
import { hasEnded, lanesDrawing, lanesOf } from "./lanes.js";
import { part } from "./sheet.js";

const EVERY_MS = 900;
const SIDES = { blocks: "begins to wait", resumes: "is about to run" };

const pointsOf = (race) => race.frames.flatMap((frame) => frame.points);

export class Player {
  #races;
  #race = null;
  #cut = null; // of the race, or null: the client does not disconnect early
  #at = 0;
  #timer = null;
  #parts = {};

  constructor(races) {
    this.#races = races;
    this.#build();
    this.#choose(0);
  }

  get #frames() {
    return this.#cut ? [...this.#race.frames.slice(0, this.#cut.at), ...this.#cut.frames] : this.#race.frames;
  }

  #build() {
    const button = (name, label, act) => {
      const made = html("button", { type: "button", "aria-label": label }, name);
      made.addEventListener("click", act);
      return made;
    };
    const races = html("select", { id: "race" }, ...this.#races.map((race, index) => html("option", { value: index }, race.name)));
    races.addEventListener("change", () => this.#choose(Number(races.value)));
    const cuts = html("select", { id: "cut" });
    cuts.addEventListener("change", () => this.#disconnect(Number(cuts.value)));
    const slider = html("input", { type: "range", id: "iteration", min: 0, "aria-label": "Event-loop iteration" });
    slider.addEventListener("input", () => this.#go(Number(slider.value)));
    const names = html("ul", { class: "names", "aria-hidden": "true" });
    const drawing = html("div", { class: "drawing" });
    drawing.addEventListener("click", (event) => {
      const box = drawing.getBoundingClientRect();
      this.#go(Math.floor(((event.clientX - box.left) / box.width) * this.#frames.length));
    });
    const play = button("▶ Play", null, () => this.#play());
    const where = html("output", { for: "iteration" });
    const said = html("ul", { class: "said" });
    const tasks = html("ul", { class: "tasks" });
    const scopes = html("ul", { class: "scopes" });
    const end = html("p", { id: "ending", role: "status" });
    const lookAt = html("p", { class: "look-at" });
    this.#parts = { cuts, slider, names, drawing, play, where, said, tasks, scopes, end, lookAt };
    const section = find("#player");
    section.append(
      html("div", { class: "bar" }, html("label", {}, "Race ", races), html("label", {}, "The client disconnects ", cuts)),
      lookAt,
      html("div", { class: "recording" }, names, drawing),
      html("div", { class: "bar steps" },
        button("◀", "One iteration back", () => this.#go(this.#at - 1)), slider,
        button("▶", "One iteration on", () => this.#go(this.#at + 1)), play, where),
      html("div", { class: "now-parts" },
        part("Tasks after this iteration, and their checkpoints in it", tasks),
        part("Scopes, from the outside to the inside", scopes),
        part("In this iteration", said)),
      end,
      html("p", { class: "small" }, "The server's code is real; the network, the upstream and the clock are simulated. Iterations in which nothing changed for the request are left out."),
    );
    section.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (event.target.matches("select, input")) return;
    const to = { ArrowLeft: this.#at - 1, ArrowRight: this.#at + 1, Home: 0, End: Infinity }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#go(to);
  }

  #choose(index) {
    this.#race = this.#races[index];
    const option = ([number, lane, side]) => html("option", { value: number }, `as ${lane} ${SIDES[side]} (${number})`);
    this.#parts.cuts.replaceChildren(html("option", { value: 0 }, "never"), ...pointsOf(this.#race).map(option));
    this.#parts.lookAt.replaceChildren(html("code", {}, `GET ${this.#race.target}`), ` ${this.#race.look_at}`);
    this.#cut = null;
    this.#go(0);
  }

  // number: of the point; 0: never.
  #disconnect(number) {
    this.#cut = this.#race.cuts.find((cut) => cut.point === number) ?? null;
    this.#parts.cuts.value = String(this.#cut ? number : 0);
    this.#go(this.#cut ? this.#cut.at : this.#at);
  }

  #play() {
    const isOver = this.#at === this.#frames.length - 1;
    if (this.#timer === null) {
      if (isOver) this.#go(0);
      this.#timer = setInterval(() => {
        this.#go(this.#at + 1, true);
        if (this.#at === this.#frames.length - 1) this.#pause();
      }, EVERY_MS);
      this.#parts.play.textContent = "Pause";
    } else {
      this.#pause();
    }
  }

  #pause() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#parts.play.textContent = "▶ Play";
  }

  #go(wanted, isPlaying = false) {
    if (!isPlaying) this.#pause();
    const frames = this.#frames;
    this.#at = Math.max(0, Math.min(wanted, frames.length - 1));
    const frame = frames[this.#at];
    const { slider, where, names, drawing, said, scopes, tasks, end } = this.#parts;
    const words = `iteration ${this.#at + 1} of ${frames.length}, ${ms(frame.t)}`;
    slider.max = frames.length - 1;
    slider.value = this.#at;
    slider.setAttribute("aria-valuetext", words);
    where.textContent = words;
    const lanes = lanesOf(this.#race.frames);
    names.replaceChildren(...lanes.map((name) => html("li", {}, name)));
    drawing.replaceChildren(lanesDrawing(frames, lanes, this.#at, this.#cut?.at ?? null));
    said.replaceChildren(...(frame.said.length ? frame.said : ["nothing that is visible from outside"]).map((text) => html("li", {}, text)));
    scopes.replaceChildren(...frame.scopes.map((scope) => this.#scope(scope)));
    tasks.replaceChildren(...lanes.filter((name) => name in frame.lanes).map((name) => this.#task(name, frame)));
    end.replaceChildren(...this.#ending());
  }

  #scope([name, depth, deadline, why]) {
    const words = [deadline === null ? "no deadline" : `deadline at ${ms(deadline)}`, why === null ? "" : `cancelled: ${why}`];
    return html("li", { class: `depth-${Math.min(depth, 4)}${why === null ? "" : " cancelled"}` },
      html("b", {}, name), ` ${words.filter(Boolean).join("; ")}`);
  }

  #task(name, frame) {
    const state = frame.lanes[name];
    const points = frame.points.filter((point) => point[1] === name);
    const where = hasEnded(state)
      ? [html("b", {}, state[0] === "ok" ? "ended: success" : state[0] === "ended" ? "ended" : `ended: ${state[0]}`), state[1] ? ` ${state[1]}` : ""]
      : this.#place(state);
    return html("li", { class: points.length ? "ran" : null },
      html("b", {}, name, ...(points.length ? [html("span", { class: "small" }, " ran")] : [])),
      html("div", {}, ...where, html("div", { class: "bar" }, ...this.#cutButtons(name, points))));
  }

  #place(number) {
    if (number === null) return ["–"];
    const [at, name, line] = this.#race.places[number];
    return [html("span", { class: "small" }, `${name}, ${at}`), html("code", {}, line)];
  }

  // Only where both runs are the same: after the cut, the numbers are those of another run.
  #cutButtons(name, points) {
    if (this.#cut && this.#at >= this.#cut.at) return [];
    return points.map(([number, , side]) => {
      const made = html("button", { type: "button", "aria-label": `Disconnect as it ${SIDES[side]}, ${name}`, "data-point": number },
        `Disconnect as it ${SIDES[side]}`);
      made.addEventListener("click", () => {
        this.#disconnect(number);
        find("#iteration").focus();
      });
      return made;
    });
  }

  #ending() {
    const run = this.#cut ?? this.#race;
    const answer = run.status === null ? "no answer: the client has gone" : `${run.status} after ${ms(run.answered_ms)}`;
    const calls = run.calls.length ? run.calls.map((end, index) => `call ${index} ${spaced(end)}`).join(", ") : "no call was started";
    const judged = run.wrong.length ? `Broken: ${run.wrong.join("; ")}.` : "Nothing was left; the simulation's judge found every guarantee kept.";
    const parts = [html("b", {}, "This run ends with "), `${answer}; ${calls}. ${judged} `];
    if (this.#cut) {
      const back = html("button", { type: "button", id: "undisturbed" }, "Back to the undisturbed run");
      back.addEventListener("click", () => {
        this.#disconnect(0);
        find("#iteration").focus();
      });
      parts.push(back);
    }
    return parts;
  }
}

