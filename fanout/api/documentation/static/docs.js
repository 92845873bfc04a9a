// Sends a form without leaving the page, and shows the answer and how each upstream call went.
// Without this script the form still works: the browser goes to the answer.

const TIMING = /call(\d+);dur=([\d.]+);desc="(\w+)"/g;

function callItem([, call, ms, outcome], longestMs) {
  const item = document.createElement("li");
  item.className = outcome;
  item.textContent = `call ${call}: ${outcome} after ${ms} ms`;
  const bar = item.appendChild(document.createElement("span"));
  bar.style.width = `${(100 * ms) / longestMs}%`;
  return item;
}

function show(form, status, timing, content) {
  const calls = [...timing.matchAll(TIMING)];
  const longestMs = Math.max(1, ...calls.map(([, , ms]) => Number(ms)));
  form.querySelector(".status").textContent = status;
  form.querySelector(".calls").replaceChildren(...calls.map((call) => callItem(call, longestMs)));
  form.querySelector(".content").textContent = content;
  form.querySelector(".content").hidden = content === "";
  form.querySelector(".result").hidden = false;
}

async function send(form, signal) {
  const url = new URL(form.action);
  const timeout = form.elements.timeout.value;
  if (timeout !== "") url.searchParams.set("timeout", timeout);
  const startedAt = performance.now();
  const elapsed = () => `${Math.round(performance.now() - startedAt)} ms`;
  try {
    const response = await fetch(url, { signal });
    const content = await response.text(); // as it came: reading it as JSON could change a number
    const status = `${response.status} after ${elapsed()}, request ${response.headers.get("X-Request-Id")}`;
    show(form, status, response.headers.get("Server-Timing") ?? "", content);
  } catch (error) {
    const why = signal.aborted ? "You disconnected" : `No answer (${error.message})`;
    show(form, `${why} after ${elapsed()}`, "", "");
  }
}

for (const form of document.forms) {
  const [sendButton, hangUpButton] = form.querySelectorAll("button");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const caller = new AbortController();
    hangUpButton.onclick = () => caller.abort();
    sendButton.disabled = true;
    hangUpButton.disabled = false;
    await send(form, caller.signal);
    sendButton.disabled = false;
    hangUpButton.disabled = true;
  });
}
