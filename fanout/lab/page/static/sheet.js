// The details: a dialog at the side. Escape, its button or a click next to it closes it, and focus returns.

import { find, html } from "./dom.js";

export const facts = (pairs) =>
  html("dl", {}, ...pairs.flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));

export const part = (title, ...children) => html("section", {}, html("h3", {}, title), ...children);

// verdict: its symbol and word stand before the title.
export function openSheet(symbol, verdict, title, ...parts) {
  const sheet = find("#sheet");
  const close = html("button", { type: "button", class: "close", "aria-label": "Close" }, "✕");
  close.addEventListener("click", () => sheet.close());
  const name = html("h2", { id: "sheet-title", tabindex: -1, autofocus: "" }, html("span", { class: "symbol" }, symbol), ` ${title}`);
  sheet.className = spacedClass(verdict);
  sheet.replaceChildren(html("header", {}, name, close), ...parts);
  sheet.showModal();
  sheet.scrollTop = 0;
}

export const spacedClass = (verdict) => verdict.replaceAll(" ", "-");

export function prepareSheet() {
  const sheet = find("#sheet");
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet) sheet.close();
  });
}
