// The page, made from the results that it contains.

import { find, html } from "./dom.js";
import { facts, prepareSheet } from "./sheet.js";
import { showTiles } from "./tiles.js";
import { showMatrix } from "./matrix.js";
import { Player } from "./player.js";

const results = JSON.parse(find("#results").textContent);
const { made } = results;

prepareSheet();
showTiles(results.experiments);
new Player(results.races);
showMatrix(results.matrix);
find("#about").textContent = `fanout ${made.versions.fanout} · ${made.on}`;
find("#made").append(
  facts([
    ["recorded on", `${made.on}, ${made.system}`],
    ["versions", Object.entries(made.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
    ["make it again", html("code", {}, made.by)],
    ["as JSON", html("a", { href: "lab/results.json" }, "results.json")],
  ]),
);
document.body.dataset.state = "ready";
