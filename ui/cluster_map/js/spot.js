// The model's answer for a spot on the map.

import * as bars from "./bars.js";
import { figure, h, named, text } from "./dom.js";
import { paint } from "./pictures.js";

/** @import { ProbeAnswer } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Spot */

/** @param {() => void} close */
export function create(close) {
  const side = h("span", { class: "aside" });
  const image = figure("decoded here");
  const note = h("p", { class: "note" });
  const soft = bars.create("map-probe-bars", "Soft assignment there");
  const button = h("button", { type: "button", class: "quiet", text: "Close", onclick: close });
  const picture = h("div", { class: "triptych" }, image.root);
  const ends = h("span", { class: "ends" }, side, button);
  const head = h("div", { class: "head" }, h("h4", { text: "This spot on the map" }), ends);
  const root = h("section", { "data-testid": "map-probe" }, head, picture, note, soft.root);
  root.hidden = true;
  return { root, side, image, picture, note, soft };
}

/**
 * @param {Spot} spot
 * @param {ProbeAnswer | null} answer null while it is awaited
 */
export function update({ side, image, picture, note, soft }, answer) {
  const warning = answer && !answer.trusted ? "The picture is unreliable here." : "";
  const lines = answer ? [warning, answer.note].filter(Boolean) : ["Asking the model \u2026"];
  soft.root.hidden = !answer;
  picture.hidden = !answer?.image;
  note.hidden = !lines.length;
  note.classList.toggle("busy", !answer);
  note.classList.toggle("warn", Boolean(warning));
  text(note, lines.join(" "));
  if (!answer) return text(side, "");
  const best = answer.p.reduce((at, v, c) => (v > answer.p[at] ? c : at), 0);
  text(side, `cluster ${best}`);
  const decoded = answer.image;
  if (decoded) {
    paint(image.canvas, decoded.shape, (i) => decoded[i]);
    named(image.below, best, `${best}, ${answer.p[best].toFixed(2)}`);
  }
  bars.update(soft, [...answer.p], null, "");
}
