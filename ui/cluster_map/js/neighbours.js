// The pinned sample's nearest neighbours in the embedding, and which of them are not near on the map.

import { h, swatch, text } from "./dom.js";
import { paint } from "./pictures.js";

/** @import { InspectorView } from "./inspector.js" */
/** @import { Picture, PinDetail } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Neighbours */

/** @param {(row: number) => void} pin */
export function create(pin) {
  const side = h("span", { class: "aside" });
  const thumbs = h("div", { class: "thumbs" });
  const note = h("p", { class: "note" });
  const head = h("div", { class: "head" }, h("h4", { text: "Nearest in the embedding" }), side);
  const root = h("section", { "data-testid": "map-neighbours" }, head, thumbs, note);
  root.hidden = true;
  return { root, side, thumbs, note, pin, shown: /** @type {Uint32Array | null} */ (null) };
}

/**
 * @param {Neighbours} neighbours
 * @param {InspectorView} view
 * @param {PinDetail | null | undefined} detail
 */
export function update(neighbours, view, detail) {
  const rows = detail?.neighbours;
  neighbours.root.hidden = view.mode === "attack" || !rows;
  if (neighbours.root.hidden || !detail || !rows || neighbours.shown === rows) return;
  const { near, neighbour_images: pictures } = detail;
  const { side, thumbs, note, pin } = neighbours;
  neighbours.shown = rows;
  const away = [...rows].map((_, i) => Boolean(near && !near[i]));
  const buttons = [...rows].map((row, i) => {
    const canvas = h("canvas", { width: 1, height: 1, "aria-hidden": "true" });
    if (pictures) paintOne(canvas, pictures, i);
    return thumb(row, view.clusterOf(row), away[i], canvas, () => pin(row));
  });
  thumbs.replaceChildren(...buttons);
  text(side, `${rows.length} samples`);
  const far = away.filter(Boolean).length;
  const where = "lie elsewhere on the map: near in the embedding is not always near in the picture.";
  note.hidden = !far;
  text(note, `${far} of ${rows.length} (\u2197) ${where}`);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Picture} pictures
 * @param {number} i
 */
function paintOne(canvas, pictures, i) {
  const [, ...shape] = pictures.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  paint(canvas, shape, (j) => pictures[i * size + j]);
}

/**
 * @param {number} row
 * @param {number} cluster
 * @param {boolean} away
 * @param {HTMLCanvasElement} canvas
 * @param {() => void} pin
 */
function thumb(row, cluster, away, canvas, pin) {
  const label = `Pin sample ${row}, cluster ${cluster}${away ? ", not near on the map" : ""}`;
  const shell = { class: away ? "away" : "", onclick: pin, "aria-label": label, title: `Sample ${row}` };
  const below = h("span", { class: "sub" }, swatch(cluster), String(cluster), away ? " \u2197" : "");
  return h("button", { type: "button", ...shell }, canvas, below);
}
