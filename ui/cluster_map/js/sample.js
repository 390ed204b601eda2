// The pinned sample: its images clean and attacked, through the decoder too, and its soft assignment.

import * as bars from "./bars.js";
import * as core from "./core.js";
import * as decoder from "./decoder.js";
import { context2d, figure, h, named, text } from "./dom.js";
import { paint, paintChange } from "./pictures.js";

/** @import { InspectorEvents, InspectorView } from "./inspector.js" */
/** @import { Moment, PinDetail, Pinned, Theme } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Sample */

const HOW =
  "Click a point to pin it. By keyboard: focus the map, go from point to point with the arrow keys, press Enter.";

/** @param {InspectorEvents} on */
export function create(on) {
  const title = h("h4");
  const aside = h("span", { class: "aside" });
  const unpin = h("button", { type: "button", class: "quiet", text: "Unpin", onclick: () => on.unpin() });
  const images = ["clean", "change", "attacked"].map(figure);
  const pictures = images.map((image) => image.root);
  const triptych = h("div", { class: "triptych", "data-testid": "map-triptych" }, ...pictures);
  const decoded = decoder.create();
  const note = h("p", { class: "note", "data-testid": "map-pin-note" });
  const empty = h("p", { class: "hint" });
  const suggest = h("button", { type: "button", class: "action", "data-testid": "map-suggest" });
  const head = h("div", { class: "head" }, title, h("span", { class: "ends" }, aside, unpin));
  const shell = { "data-testid": "map-sample" };
  const root = h("section", shell, head, triptych, decoded.root, note, empty, suggest);
  const soft = bars.create("map-bars", "Soft assignment");
  return { root, soft, title, aside, unpin, images, triptych, decoded, note, empty, suggest, on, drawn: "" };
}

/**
 * The pinned sample at the dialled strength.
 * @param {Sample} sample
 * @param {InspectorView} view
 * @param {Pinned | null} pin
 * @param {Moment} now
 * @param {Theme} theme
 */
export function update(sample, view, pin, now, theme) {
  const detail = pin?.detail;
  sample.unpin.hidden = !pin;
  // an attack on the embedding has no image but the decoded one
  sample.triptych.hidden = !pin || Boolean(detail?.decoded && !detail.change);
  sample.decoded.root.hidden = true;
  sample.empty.hidden = Boolean(pin);
  sample.suggest.hidden = Boolean(pin) || !view.suggestion;
  sample.soft.root.hidden = !detail?.p;
  if (!pin) return showNothing(sample, view);
  text(sample.title, `Sample ${pin.row}`);
  text(sample.aside, pin.now === pin.cluster ? `cluster ${pin.cluster}` : `cluster ${pin.cluster} \u2192 ${pin.now}`);
  const lines = [pin.waiting, detail?.note].filter(Boolean);
  sample.note.hidden = !lines.length;
  text(sample.note, lines.join(" "));
  sample.note.classList.toggle("busy", Boolean(pin.waiting));
  showImages(sample, view, pin, theme);
  if (view.mode === "attack" && detail) showChange(sample, view, detail, now, theme);
  if (detail?.p) showSoft(sample, view, pin, detail, detail.p, now, theme);
}

/**
 * @param {Sample} sample
 * @param {InspectorView} view
 */
function showNothing(sample, { suggestion }) {
  sample.drawn = "";
  text(sample.title, "No sample pinned");
  text(sample.aside, "");
  sample.note.hidden = true;
  text(sample.empty, HOW);
  if (!suggestion) return;
  const { row, strength } = suggestion;
  text(sample.suggest, `Pin the most fragile: sample ${row}, ${core.fine(strength)}`);
  sample.suggest.onclick = () => sample.on.pin(row);
}

/**
 * Which images there are, and those that stand still.
 * @param {Sample} sample
 * @param {InspectorView} view
 * @param {Pinned} pin
 * @param {Theme} theme
 */
function showImages(sample, view, pin, theme) {
  const { detail } = pin;
  const attack = view.mode === "attack";
  const [clean, change, attacked] = sample.images;
  const name = `${pin.row} ${Boolean(detail)} ${Boolean(pin.image)} ${theme.dark}`;
  if (sample.drawn !== name) {
    sample.drawn = name;
    drawStill(sample, pin, attack);
  }
  text(clean.title, attack ? "clean" : pin.label === null ? "image" : `label ${pin.label}`);
  text(change.title, attack ? "change" : "reconstruction");
  const open = attack && Boolean(detail) && !detail?.change;
  sample.triptych.classList.toggle("alone", open);
  change.root.hidden = open || (!attack && !detail?.reconstruction);
  attacked.root.hidden = open || !attack;
}

/**
 * @param {Sample} sample
 * @param {Pinned} pin
 * @param {boolean} attack
 */
function drawStill({ images }, { cluster, detail, image: tile }, attack) {
  const [clean, change] = images;
  for (const { canvas, below } of images) {
    context2d(canvas).clearRect(0, 0, canvas.width, canvas.height);
    below.replaceChildren();
  }
  const picture = detail?.image;
  if (picture) paint(clean.canvas, picture.shape, (i) => picture[i]);
  else if (tile) {
    const { bitmap, x, y, w, h: height } = tile;
    clean.canvas.width = w;
    clean.canvas.height = height;
    context2d(clean.canvas).drawImage(bitmap, x, y, w, height, 0, 0, w, height);
  }
  if (!detail?.p) named(clean.below, cluster, String(cluster));
  const again = detail?.reconstruction;
  if (!attack && again) paint(change.canvas, again.shape, (i) => again[i]);
}

/**
 * What the attack has changed, and the image with it.
 * @param {Sample} sample
 * @param {InspectorView} view
 * @param {PinDetail} detail
 * @param {Moment} now
 * @param {Theme} theme
 */
function showChange({ images }, view, { image, change: changed, scale: scales, l2 }, now, theme) {
  if (!image || !changed || !scales) return;
  const [, change, attacked] = images;
  const size = image.shape.reduce((a, b) => a * b, 1);
  const delta = core.changeAt(changed, scales, size, now);
  let scale = now.strength;
  if (view.norm !== "linf") {
    scale = 0;
    for (let i = 0; i < size; i++) scale = Math.max(scale, Math.abs(delta(i)));
  }
  paintChange(change.canvas, image.shape, delta, scale, theme);
  paint(attacked.canvas, image.shape, (i) => image[i] + delta(i) * 255);
  if (l2) text(change.below, `L2 ${(l2[now.k] + (l2[now.k + 1] - l2[now.k]) * now.t).toFixed(2)}`);
}

/**
 * @param {Sample} sample
 * @param {InspectorView} view
 * @param {Pinned} pin
 * @param {PinDetail} detail
 * @param {Float32Array} all the soft assignments, strength by strength
 * @param {Moment} now
 * @param {Theme} theme
 */
function showSoft({ soft, images, decoded }, { k, mode }, pin, detail, all, now, theme) {
  const at = (/** @type {number} */ step, /** @type {number} */ c) => all[step * k + c];
  const clean = Array.from({ length: k }, (_, c) => at(0, c));
  named(images[0].below, pin.cluster, `${pin.cluster}, ${clean[pin.cluster].toFixed(2)}`);
  if (mode !== "attack") return bars.update(soft, clean, null, "");
  const p = clean.map((_, c) => at(now.k, c) + (at(now.k + 1, c) - at(now.k, c)) * now.t);
  bars.update(soft, p, clean, "tick: clean");
  decoder.update(decoded, pin, detail, now, theme, { p, clean });
  named(images[2].below, pin.now, `${pin.now}, ${p[pin.now].toFixed(2)}`);
}
