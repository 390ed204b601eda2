// The decoder's view of the pinned sample: the sample itself, its embedding decoded, the attacked embedding decoded,
// and what differs between these two.

import * as core from "./core.js";
import { figure, h, named, text } from "./dom.js";
import { paint, paintChange } from "./pictures.js";

/** @import { Moment, Picture, PinDetail, Pinned, Theme } from "./types.js" */
/** @typedef {ReturnType<typeof create>} Decoder */

const HINT =
  "L2: how far the two decoded images are apart, pixel values from 0 to 1. The decoder errs by as much as the clean " +
  "one is from the original. In percent: of the clean decoded image's length.";
const SAME = 0.1; // what an eye takes for the same picture; the number stands beside the word

export function create() {
  const aside = h("span", { class: "aside", title: HINT });
  const images = ["original", "decoded", "attacked", "difference"].map(figure);
  const caption = h("p", { class: "note", "data-testid": "map-decoder-note", title: HINT });
  const head = h("div", { class: "head" }, h("h4", { text: "Through the decoder" }), aside);
  const pictures = h("div", { class: "triptych four" }, ...images.map((image) => image.root));
  const root = h("section", { "data-testid": "map-decoder" }, head, pictures, caption);
  images[2].canvas.setAttribute("aria-label", "attacked embedding, decoded");
  return { root, aside, images, caption, drawn: /** @type {Picture | null} */ (null), error: 0, whole: 1 };
}

/**
 * @param {Picture} picture
 * @param {(index: number) => number} value
 */
const length = (picture, value) => Math.sqrt(picture.reduce((sum, _, i) => sum + value(i) ** 2, 0));

/**
 * Draws what does not change with the dial.
 * @param {Decoder} decoder
 * @param {Picture} decoded
 * @param {Picture} image
 */
function start(decoder, decoded, image) {
  const [original, clean] = decoder.images;
  decoder.drawn = decoded;
  decoder.error = length(decoded, (i) => (decoded[i] - image[i]) / 255);
  decoder.whole = length(decoded, (i) => decoded[i] / 255) || 1;
  paint(original.canvas, image.shape, (i) => image[i]);
  paint(clean.canvas, decoded.shape, (i) => decoded[i]);
}

/**
 * The pinned sample at the dialled strength.
 * @param {Decoder} decoder
 * @param {Pinned} pin
 * @param {PinDetail} detail
 * @param {Moment} now
 * @param {Theme} theme
 * @param {{ p: number[], clean: number[] }} soft its soft assignments there and clean
 */
export function update(decoder, { cluster, now: after }, detail, now, theme, soft) {
  const { decoded, image, decoded_change: change, decoded_scale: scale } = detail;
  const { root, aside, images, caption } = decoder;
  root.hidden = !decoded;
  if (!decoded || !image || !change || !scale) return;
  const [, clean, attacked, difference] = images;
  if (decoder.drawn !== decoded) start(decoder, decoded, image);
  const delta = core.changeAt(change, scale, decoded.length, now);
  const apart = length(decoded, delta);
  const share = apart / decoder.whole;
  const largest = decoded.reduce((most, _, i) => Math.max(most, Math.abs(delta(i))), 0);
  paint(attacked.canvas, decoded.shape, (i) => decoded[i] + delta(i) * 255);
  paintChange(difference.canvas, decoded.shape, delta, largest, theme);
  text(difference.below, largest ? `\u00b1${largest.toFixed(largest < 0.1 ? 3 : 2)}` : "none");
  named(clean.below, cluster, `${cluster}, ${soft.clean[cluster].toFixed(2)}`);
  named(attacked.below, after, `${after}, ${soft.p[after].toFixed(2)}`);
  text(aside, `L2 ${apart.toFixed(2)}, decoder errs ${decoder.error.toFixed(2)}`);
  const where = cluster === after ? "same cluster" : `different cluster: ${cluster} \u2192 ${after}`;
  text(caption, `${pictureWords(largest, share)}, ${where}.`);
}

/**
 * @param {number} largest
 * @param {number} share
 */
function pictureWords(largest, share) {
  if (!largest) return "Same picture";
  const percent = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
  return share < SAME ? `Same picture within ${percent}` : `Picture changed by ${percent}`;
}
